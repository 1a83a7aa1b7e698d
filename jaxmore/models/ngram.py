"""The character before, or the two before, predict the next one: three ways to the same table.

Looked up (makemore.py's ``bigram``), counted, or learned from one-hot vectors. A context is a row
of ids as in :func:`jaxmore.context_windows`: (M, 1) for a bigram, (M, 2) for a trigram.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxmore import rules
from jaxmore.layers import Chain, Embedding, Normal


def bigram(vocab_size: int) -> Chain:
    """makemore.py's ``bigram``: a table of logits, zero at first; 729 at 27 characters.

    Args:
        vocab_size: V.
    """
    return Chain(logits=Embedding(vocab_size, vocab_size, Normal(0.0)))


def count_ngrams(
    X: Int[np.ndarray, "M n"], Y: Int[np.ndarray, " M"], vocab_size: int
) -> Int[np.ndarray, "*table"]:
    """How often each id follows each context.

    Args:
        X: contexts (M, n).
        Y: what follows (M,).
        vocab_size: V.

    Returns:
        A table with n + 1 axes of length V; its last axis is what follows.

    >>> count_ngrams(np.array([[0], [1], [0]]), np.array([1, 0, 1]), 2).tolist()
    [[0, 2], [1, 0]]
    """
    shape = (vocab_size,) * (X.shape[1] + 1)
    places = np.ravel_multi_index((*X.T, Y), shape)
    return np.bincount(places, minlength=vocab_size ** len(shape)).reshape(shape)


def log_probabilities(
    counts: Int[np.ndarray, "*table"], *, smoothing: float = 0.0
) -> Float[np.ndarray, "*table"]:
    """The logarithms of a counted model's probabilities: (count + smoothing) / their sum.

    Args:
        counts: of :func:`count_ngrams`.
        smoothing: added to every count; 1 is Laplace's rule of succession.

    Returns:
        Float64, the same table: −inf for what was never seen, and −log V throughout a context
        that was never seen.

    >>> np.exp(log_probabilities(np.array([[1, 3], [0, 0]]))).tolist()
    [[0.25, 0.75], [0.5, 0.5]]
    """
    raised = counts + np.float64(smoothing)
    total = raised.sum(-1, keepdims=True)
    raised, total = np.where(total, raised, 1), np.where(total, total, counts.shape[-1])
    with np.errstate(divide="ignore"):
        return np.log(raised) - np.log(total)


def mean_nll(log_probs: Float[np.ndarray, "*table"], counts: Int[np.ndarray, "*table"]) -> float:
    """The mean negative log-likelihood of counted data: −Σ counts · log p / Σ counts.

    Args:
        log_probs: of :func:`log_probabilities`.
        counts: of the data, those of the model or others.

    Returns:
        Nats per id; infinite where the data hold what the model has never seen.
    """
    seen = counts > 0  # what does not occur costs nothing, be it impossible
    return float(-(counts[seen] * log_probs[seen]).sum() / counts.sum())


def neural_ngram_loss_and_grad(
    weight: Float[Array, "nV V"],
    x: Int[Array, "M n"],
    y: Int[Array, " M"],
    *,
    penalty: float = 0.01,
) -> tuple[Float[Array, ""], Float[Array, "nV V"]]:
    """Zero-to-hero lecture 2's network, one linear layer on one-hot vectors, and its gradient.

    With P the contexts' one-hot vectors side by side, (M, n·V)::

        logits = P W          loss = cross-entropy(logits, y) + penalty · mean(W²)

    W is used twice, so its cotangent is the sum of two: Pᵀ dlogits (see ``linear``) and that of
    the penalty (see ``l2_penalty``), which pulls the probabilities together as +1 counts do.

    Args:
        weight: W.
        x: contexts.
        y: what follows.
        penalty: the share of mean(W²) in the loss.

    Returns:
        The loss and dW.
    """
    one_hot = jax.nn.one_hot(x, weight.shape[1], dtype=weight.dtype).reshape(len(x), -1)
    logits, linear_res = rules.linear_fwd(one_hot, weight)
    nll, nll_res = rules.softmax_cross_entropy_fwd(logits, y)
    l2, l2_res = rules.l2_penalty_fwd(weight, scale=penalty)
    dloss = jnp.ones_like(nll)
    dlogits, _ = rules.softmax_cross_entropy_bwd(nll_res, dloss)
    _, dweight, _ = rules.linear_bwd(linear_res, dlogits)
    (dpenalty,) = rules.l2_penalty_bwd(l2_res, dloss, scale=penalty)
    return nll + l2, dweight + dpenalty
