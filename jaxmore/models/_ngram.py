"""N-gram models, which predict the next character from the last one or two.

There are three ways to the same table: trained logits (makemore.py's ``bigram``), counts, and
full-batch gradient descent. A table has an axis of length V for each character of the context and
a last axis for the next character.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxmore import rules
from jaxmore.layers import Chain, Embedding, JoinIds, Normal, Windows


def bigram(vocab_size: int) -> Chain:
    """Return the ``bigram`` of makemore.py: a table of logits, initially zero.

    It has 729 parameters for 27 characters.

    Args:
        vocab_size: V.
    """
    return Chain(logits=Embedding(vocab_size, vocab_size, Normal(0.0)))


def ngram(vocab_size: int, n: int) -> Chain:
    """Return a table with a row of logits for each context of n ids, initially zero.

    Args:
        vocab_size: V.
        n: the length of the context: 1 for a bigram, 2 for a trigram.
    """
    return Chain(
        windows=Windows(n),
        context=JoinIds(vocab_size),
        logits=Embedding(vocab_size**n, vocab_size, Normal(0.0)),
    )


def count_ngrams(
    X: Int[np.ndarray, "M n"], Y: Int[np.ndarray, " M"], vocab_size: int
) -> Int[np.ndarray, "*table"]:
    """Count how often each id follows each context.

    Args:
        X: contexts (M, n), from :func:`jaxmore.context_windows`.
        Y: the next ids (M,).
        vocab_size: V.

    Returns:
        A table with n + 1 axes of length V; the last axis is the next id.

    >>> count_ngrams(np.array([[0], [1], [0]]), np.array([1, 0, 1]), 2).tolist()
    [[0, 2], [1, 0]]
    """
    shape = (vocab_size,) * (X.shape[1] + 1)
    places = np.ravel_multi_index((*X.T, Y), shape)
    return np.bincount(places, minlength=vocab_size ** len(shape)).reshape(shape)


def log_probabilities(
    counts: Int[np.ndarray, "*table"], *, smoothing: float = 0.0
) -> Float[np.ndarray, "*table"]:
    """Return the log-probabilities of a counted model: log((count + smoothing) / their sum).

    Args:
        counts: from :func:`count_ngrams`.
        smoothing: added to every count; 1 is Laplace's rule of succession.

    Returns:
        The same table in float64: −inf for an id that never followed, and −log V for all ids after
        a context that never occurred.

    >>> np.exp(log_probabilities(np.array([[1, 3], [0, 0]]))).tolist()
    [[0.25, 0.75], [0.5, 0.5]]
    """
    raised = counts + np.float64(smoothing)
    total = raised.sum(-1, keepdims=True)
    raised, total = np.where(total, raised, 1), np.where(total, total, counts.shape[-1])
    with np.errstate(divide="ignore"):
        return np.log(raised) - np.log(total)


def mean_nll(log_probs: Float[np.ndarray, "*table"], counts: Int[np.ndarray, "*table"]) -> float:
    """Compute the mean negative log-likelihood of counted data: −Σ counts · log p / Σ counts.

    Args:
        log_probs: from :func:`log_probabilities`.
        counts: of the data to evaluate, which may differ from those of the model.

    Returns:
        Nats per id; infinite if the data contain an n-gram that has probability zero.
    """
    seen = counts > 0  # n-grams that do not occur contribute nothing, even at −inf
    total = (counts[seen] * log_probs[seen]).sum()
    return float((0.0 - total) / counts.sum())  # 0, not −0, for a certain prediction


def neural_ngram_loss_and_grad(
    weight: Float[Array, "C V"], counts: Int[Array, "C V"], *, penalty: float = 0.01
) -> tuple[Float[Array, ""], Float[Array, "C V"]]:
    """Compute the loss and gradient of lecture 2's network, a linear layer on one-hot vectors.

    Each of M examples has a one-hot context of length C = Vⁿ, a row of P (M, C)::

        logits = P W          loss = cross-entropy(logits, y) + penalty · mean(W²)

    A row of P W is the row of W for the context of the example, so equal examples can be grouped.
    With N[c, v] the number of examples with context c and target v, N[c] = Σ_v N[c, v] and
    p = softmax(W)::

        loss = −1/M · Σ N[c, v] log p[c, v] + penalty · mean(W²)

    Derivation. One example gives dlogits = (p − onehot(y))/M (see ``softmax_cross_entropy``),
    and dW = Pᵀ dlogits (see ``linear``) sums them by context. W is also used in the penalty, and
    its two cotangents add::

        dW = (N[c] p − N)/M + 2 penalty/(C V) · W

    For penalty = 0 it is zero at p[c, v] = N[c, v]/N[c], the counted model. The penalty makes the
    probabilities of a context more uniform, as smoothing does.

    Args:
        weight: W.
        counts: N from :func:`count_ngrams`, with the axes of the context merged into one.
        penalty: the factor of mean(W²) in the loss.

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
    """Run full-batch gradient descent on :func:`neural_ngram_loss_and_grad`, starting at W = 0.

    Args:
        counts: from :func:`count_ngrams`.
        n_steps: the number of steps.
        learning_rate: 50 in the lecture.
        penalty: the factor of mean(W²) in the loss.

    Returns:
        The learned log-probabilities, a table with the shape of ``counts``.
    """
    flat = counts.reshape(-1, counts.shape[-1])

    def step(_: Array, weight: Array) -> Array:
        return weight - learning_rate * neural_ngram_loss_and_grad(weight, flat, penalty=penalty)[1]

    weight = jax.lax.fori_loop(0, n_steps, step, jnp.zeros(flat.shape))
    return jax.nn.log_softmax(weight).reshape(counts.shape)
