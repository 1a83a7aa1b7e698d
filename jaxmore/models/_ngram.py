"""The character before, or the two before, predict the next one: three ways to the same table.

Looked up (makemore.py's ``bigram``), counted, or learned by gradient descent. A table has an axis
of length V for each character of the context, and a last one for what follows.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxmore import rules
from jaxmore.layers import Chain, Embedding, JoinIds, Normal, Windows


def bigram(vocab_size: int) -> Chain:
    """makemore.py's ``bigram``: a table of logits, zero at first; 729 at 27 characters.

    Args:
        vocab_size: V.
    """
    return Chain(logits=Embedding(vocab_size, vocab_size, Normal(0.0)))


def ngram(vocab_size: int, n: int) -> Chain:
    """A row of logits for each n ids, zero at first: n = 1 a bigram, n = 2 a trigram.

    Args:
        vocab_size: V.
        n: the length of the context.
    """
    return Chain(
        windows=Windows(n),
        context=JoinIds(vocab_size),
        logits=Embedding(vocab_size**n, vocab_size, Normal(0.0)),
    )


def count_ngrams(
    X: Int[np.ndarray, "M n"], Y: Int[np.ndarray, " M"], vocab_size: int
) -> Int[np.ndarray, "*table"]:
    """How often each id follows each context.

    Args:
        X: contexts (M, n), of :func:`jaxmore.context_windows`.
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
    total = (counts[seen] * log_probs[seen]).sum()
    return float((0.0 - total) / counts.sum())  # of a certainty 0, not −0


def neural_ngram_loss_and_grad(
    weight: Float[Array, "C V"], counts: Int[Array, "C V"], *, penalty: float = 0.01
) -> tuple[Float[Array, ""], Float[Array, "C V"]]:
    """Zero-to-hero lecture 2's network, one linear layer on one-hot vectors, and its gradient.

    M examples, the context of each a one-hot vector of length C = Vⁿ, a row of P (M, C)::

        logits = P W          loss = cross-entropy(logits, y) + penalty · mean(W²)

    A row of P W is the row of W that belongs to the example's context, so examples that are
    alike need not be computed apart: with N[c, v] the examples of context c and target v,
    N[c] = Σ_v N[c, v], and p = softmax(W)::

        loss = −1/M · Σ N[c, v] log p[c, v] + penalty · mean(W²)

    Derivation. One example gives dlogits = (p − onehot(y))/M (see ``softmax_cross_entropy``),
    and dW = Pᵀ dlogits (see ``linear``) adds them up by context. W is used in the penalty,
    too, and its two cotangents add::

        dW = (N[c] p − N)/M + 2 penalty/(C V) · W

    It is zero for penalty = 0 where p[c, v] = N[c, v]/N[c]: where the counted model stands. The
    penalty pulls the probabilities of a context together, as smoothing does.

    Args:
        weight: W.
        counts: N of :func:`count_ngrams`, the axes of the context joined in one.
        penalty: the share of mean(W²) in the loss.

    Returns:
        The loss and dW.

    Source: Karpathy, zero-to-hero lecture 2 (2022).
    """
    N = counts.astype(weight.dtype)
    log_probs = jax.nn.log_softmax(weight)
    nll = -(N * log_probs).sum() / N.sum()
    dnll = (N.sum(-1, keepdims=True) * jnp.exp(log_probs) - N) / N.sum()
    l2, l2_res = rules.l2_penalty_fwd(weight, scale=penalty)
    (dpenalty,) = rules.l2_penalty_bwd(l2_res, jnp.ones_like(l2), scale=penalty)
    return nll + l2, dnll + dpenalty


@partial(jax.jit, static_argnames="penalty")
def train_neural_ngram(
    counts: Int[Array, "*table"],
    n_steps: Int[Array, ""] | int,
    learning_rate: Float[Array, ""] | float,
    *,
    penalty: float = 0.01,
) -> Float[Array, "*table"]:
    """Full-batch gradient descent on :func:`neural_ngram_loss_and_grad` from W = 0 on.

    Args:
        counts: of :func:`count_ngrams`.
        n_steps: how many.
        learning_rate: 50 in the lecture.
        penalty: the share of mean(W²) in the loss.

    Returns:
        The logarithms of the probabilities that it learned, the same table.
    """
    flat = counts.reshape(-1, counts.shape[-1])

    def step(_: Array, weight: Array) -> Array:
        return weight - learning_rate * neural_ngram_loss_and_grad(weight, flat, penalty=penalty)[1]

    weight = jax.lax.fori_loop(0, n_steps, step, jnp.zeros(flat.shape))
    return jax.nn.log_softmax(weight).reshape(counts.shape)
