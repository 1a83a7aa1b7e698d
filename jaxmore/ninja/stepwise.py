"""The seeds' network in its smallest steps: Exercise 1 of "becoming a backprop ninja".

Seeds 000, 001, 003 and 004 break one network (embedding, linear, BatchNorm, tanh, linear,
cross-entropy) into nineteen intermediates and go back through every one of them by hand.
:func:`forward` computes each intermediate under its seed name, :func:`backward` the cotangent
of each of them and of the seven parameters: line by line the mirror of the forward, last line
first. Exercises 2 and 3, the same in closed form, stand below.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

EPS = 1e-5


class Parameters(NamedTuple):
    """The seven parameters, by their seed names. Seed 004 has no b1: None."""

    C: Float[Array, "V E"]
    W1: Float[Array, "TE H"]
    b1: Float[Array, " H"] | None
    W2: Float[Array, "H V"]
    b2: Float[Array, " V"]
    bngain: Float[Array, "1 H"]
    bnbias: Float[Array, "1 H"]


class Intermediates(NamedTuple):
    """The nineteen intermediates of the forward pass in order, and the loss."""

    emb: Float[Array, "B T E"]
    embcat: Float[Array, "B TE"]
    hprebn: Float[Array, "B H"]
    bnmeani: Float[Array, "1 H"]
    bndiff: Float[Array, "B H"]
    bndiff2: Float[Array, "B H"]
    bnvar: Float[Array, "1 H"]
    bnvar_inv: Float[Array, "1 H"]
    bnraw: Float[Array, "B H"]
    hpreact: Float[Array, "B H"]
    h: Float[Array, "B H"]
    logits: Float[Array, "B V"]
    logit_maxes: Float[Array, "B 1"]
    norm_logits: Float[Array, "B V"]
    counts: Float[Array, "B V"]
    counts_sum: Float[Array, "B 1"]
    counts_sum_inv: Float[Array, "B 1"]
    probs: Float[Array, "B V"]
    logprobs: Float[Array, "B V"]
    loss: Float[Array, ""]


class Cotangents(NamedTuple):
    """The 26 cotangents, d(loss)/d(name), in the order in which the backward pass meets them.

    Each has the shape and dtype of what it is the cotangent of. b1 is None where there is none.
    """

    logprobs: Float[Array, "B V"]
    probs: Float[Array, "B V"]
    counts_sum_inv: Float[Array, "B 1"]
    counts_sum: Float[Array, "B 1"]
    counts: Float[Array, "B V"]
    norm_logits: Float[Array, "B V"]
    logit_maxes: Float[Array, "B 1"]
    logits: Float[Array, "B V"]
    h: Float[Array, "B H"]
    W2: Float[Array, "H V"]
    b2: Float[Array, " V"]
    hpreact: Float[Array, "B H"]
    bngain: Float[Array, "1 H"]
    bnbias: Float[Array, "1 H"]
    bnraw: Float[Array, "B H"]
    bnvar_inv: Float[Array, "1 H"]
    bnvar: Float[Array, "1 H"]
    bndiff2: Float[Array, "B H"]
    bndiff: Float[Array, "B H"]
    bnmeani: Float[Array, "1 H"]
    hprebn: Float[Array, "B H"]
    embcat: Float[Array, "B TE"]
    W1: Float[Array, "TE H"]
    b1: Float[Array, " H"] | None
    emb: Float[Array, "B T E"]
    C: Float[Array, "V E"]


@jax.jit
def forward(params: Parameters, X: Int[Array, "B T"], Y: Int[Array, " B"]) -> Intermediates:
    """Every intermediate of the seeds' network, and its loss.

    Args:
        params: the parameters.
        X: (B, T) contexts, ids in [0, V).
        Y: (B,) targets, ids in [0, V).

    Returns:
        The intermediates, in the dtype of the parameters.

    Raises:
        ValueError: B = 1, which has no unbiased variance.

    Source: seed 001, cell 6 (zero-to-hero, lecture 5).
    """
    n = X.shape[0]
    if n < 2:
        raise ValueError("BatchNorm needs at least two examples for a variance, got one")

    emb = params.C[X]  # embed the characters into vectors
    embcat = emb.reshape(n, -1)  # concatenate the vectors
    # Linear layer 1
    hprebn = embcat @ params.W1
    if params.b1 is not None:
        hprebn = hprebn + params.b1
    # BatchNorm layer
    bnmeani = 1 / n * _sum_rows(hprebn)
    bndiff = hprebn - bnmeani
    bndiff2 = bndiff**2
    bnvar = 1 / (n - 1) * _sum_rows(bndiff2)  # Bessel's correction
    bnvar_inv = (bnvar + EPS) ** -0.5
    bnraw = bndiff * bnvar_inv
    hpreact = params.bngain * bnraw + params.bnbias
    # Non-linearity
    h = jnp.tanh(hpreact)
    # Linear layer 2
    logits = h @ params.W2 + params.b2
    # Cross-entropy loss
    logit_maxes = logits.max(1, keepdims=True)
    norm_logits = logits - logit_maxes  # subtract max for numerical stability
    counts = jnp.exp(norm_logits)
    counts_sum = counts.sum(1, keepdims=True)
    counts_sum_inv = counts_sum**-1
    probs = counts * counts_sum_inv
    logprobs = jnp.log(probs)
    loss = -logprobs[jnp.arange(n), Y].mean()

    return Intermediates(
        emb, embcat, hprebn, bnmeani, bndiff, bndiff2, bnvar, bnvar_inv, bnraw, hpreact,
        h, logits, logit_maxes, norm_logits, counts, counts_sum, counts_sum_inv, probs,
        logprobs, loss,
    )  # fmt: skip


@jax.jit
def backward(
    params: Parameters, X: Int[Array, "B T"], Y: Int[Array, " B"], values: Intermediates
) -> Cotangents:
    """Every cotangent of the seeds' network, by hand, one line for each line of the forward.

    Two rules make all of it. A line y = f(a, b) sends dy to each argument through its partial
    derivative, and a variable that is used on several lines collects the sum. Where the
    forward broadcasts an axis of length 1, the backward sums over it.

    Roundings are those of PyTorch's autograd, as far as the compiler allows: docs/exactness.md
    says which lines have its very bits, and why the others have not.

    Args:
        params: the parameters that made ``values``.
        X: (B, T) contexts.
        Y: (B,) targets.
        values: what :func:`forward` returned.

    Returns:
        The 26 cotangents, each in the shape and dtype of its variable. Ties for the largest
        logit: the first one takes the whole of ``logit_maxes``' cotangent, as in
        ``torch.max(dim)`` (``jax.numpy.max`` would split it); it is zero by identity, since
        the loss does not depend on the maximum that was subtracted.

    Source: seed 001, cell 7 (zero-to-hero, lecture 5, Exercise 1).
    """
    n = X.shape[0]
    v = values

    # loss = −1/n Σ logprobs[i, Y[i]]: each picked entry gets −1/n, every other entry 0
    dlogprobs = jnp.zeros_like(v.logprobs).at[jnp.arange(n), Y].set(-1.0 / n)
    # logprobs = log(probs): d log(p) = dp / p
    dprobs = dlogprobs / v.probs
    # probs = counts * counts_sum_inv: the product rule; counts_sum_inv was broadcast along V
    dcounts_sum_inv = (v.counts * dprobs).sum(1, keepdims=True)
    dcounts = _rounded(v.counts_sum_inv * dprobs)
    # counts_sum_inv = counts_sum ** −1: d(s⁻¹) = −s⁻² ds
    dcounts_sum = -(v.counts_sum**-2) * dcounts_sum_inv
    # counts_sum = Σ_v counts: every entry of the row gets the row's cotangent
    dcounts = dcounts + dcounts_sum
    # counts = exp(norm_logits): exp is its own derivative
    dnorm_logits = v.counts * dcounts
    # norm_logits = logits − logit_maxes: logit_maxes was broadcast along V, with a minus sign
    dlogit_maxes = -dnorm_logits.sum(1, keepdims=True)
    # logit_maxes = max_v logits: only the (first) largest logit moves it
    is_max = jax.nn.one_hot(v.logits.argmax(1), v.logits.shape[1], dtype=v.logits.dtype)
    dlogits = dnorm_logits + is_max * dlogit_maxes
    # logits = h @ W2 + b2
    dh = dlogits @ params.W2.T
    dW2 = v.h.T @ dlogits
    db2 = _sum_rows(dlogits)[0]
    # h = tanh(hpreact): 1 − tanh²
    dhpreact = (1.0 - v.h**2) * dh
    # hpreact = bngain * bnraw + bnbias: bngain and bnbias were broadcast along the batch
    dbngain = _sum_rows(_rounded(v.bnraw * dhpreact))
    dbnbias = _sum_rows(dhpreact)
    dbnraw = params.bngain * dhpreact
    # bnraw = bndiff * bnvar_inv: the product rule; bnvar_inv was broadcast along the batch
    dbnvar_inv = _sum_rows(_rounded(v.bndiff * dbnraw))
    dbndiff = _rounded(v.bnvar_inv * dbnraw)
    # bnvar_inv = (bnvar + eps) ** −½: the power rule
    dbnvar = -0.5 * (v.bnvar + EPS) ** -1.5 * dbnvar_inv
    # bnvar = 1/(n−1) Σ bndiff2: every row gets its share
    dbndiff2 = 1 / (n - 1) * jnp.ones_like(v.bndiff2) * dbnvar
    # bndiff2 = bndiff ** 2
    dbndiff = dbndiff + _rounded(2 * v.bndiff * dbndiff2)
    # bndiff = hprebn − bnmeani: bnmeani was broadcast along the batch, with a minus sign
    dbnmeani = -_sum_rows(dbndiff)
    # bnmeani = 1/n Σ hprebn; and hprebn itself stands in bndiff
    dhprebn = dbndiff + 1 / n * dbnmeani
    # hprebn = embcat @ W1 + b1
    # (The transpose written out: within a product XLA would add up in another order.)
    dembcat = dhprebn @ lax.optimization_barrier(params.W1.T)
    dW1 = v.embcat.T @ dhprebn
    db1 = None if params.b1 is None else _sum_rows(dhprebn)[0]  # zero by identity: BatchNorm
    # embcat = emb, concatenated: the same numbers in another shape
    demb = dembcat.reshape(v.emb.shape)
    # emb = C[X]: a row of C collects the cotangents of every place where it was used
    dC = jnp.zeros_like(params.C).at[X].add(demb)

    return Cotangents(
        dlogprobs, dprobs, dcounts_sum_inv, dcounts_sum, dcounts, dnorm_logits, dlogit_maxes,
        dlogits, dh, dW2, db2, dhpreact, dbngain, dbnbias, dbnraw, dbnvar_inv, dbnvar, dbndiff2,
        dbndiff, dbnmeani, dhprebn, dembcat, dW1, db1, demb, dC,
    )  # fmt: skip


def _rounded(product: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """A product, rounded before it is added to something.

    XLA would fuse the two into one step with one rounding, which is more exact than PyTorch's two,
    and not the same. It does not see through the choice, which changes nothing.
    """
    return jnp.where(product == 0, 0, product)


def _sum_rows(x: Float[Array, "B H"]) -> Float[Array, "1 H"]:
    """Σ over the rows in partial sums, as PyTorch adds them up on a CPU.

    Sixteen rows at a time where its vectors divide the columns, else every fourth row: fewer
    roundings in a row than one long sum has, so it is more exact, too.
    """
    n, width = x.shape
    size, axis = (16, 1) if width % 64 == 0 else (4, 0)
    blocks = jnp.pad(x, ((0, -n % size), (0, 0))).reshape(-1, size, width)
    return _rounded(blocks.sum(axis)).sum(0, keepdims=True)


def dlogits_closed(logits: Float[Array, "B V"], Y: Int[Array, " B"]) -> Float[Array, "B V"]:
    """Exercise 2, the lecture's form: dlogits = (softmax(logits) − onehot(Y)) / n.

    The seven lines from logits to the loss in one step. loss = 1/n Σ (log Σ exp z − z[Y]) has
    ∂/∂z_v log Σ exp z = p_v and ∂/∂z_v z[Y] = onehot(Y)_v.
    """
    return (jax.nn.softmax(logits) - jax.nn.one_hot(Y, logits.shape[1], dtype=logits.dtype)) * (
        1 / logits.shape[0]
    )


def dlogits_outer(logits: Float[Array, "B V"], Y: Int[Array, " B"]) -> Float[Array, "B V"]:
    """Exercise 2, seed 001's form: dlogits_v = 1/n Σ_u onehot(Y)_u p_v (1 − δ_uv / p_v).

    Here ∂(−log p_u)/∂z_v = −1/p_u · ∂p_u/∂z_v = p_v − δ_uv, the whole Jacobian of −log softmax,
    V by V for each row, is written out and the row u = Y picked from it. It equals the other form:
    p_v Σ_u onehot_u = p_v and Σ_u onehot_u δ_uv = onehot_v. Where a probability underflows to
    zero it is 0/0, NaN, as it is in the seed; the other form is not.
    """
    n, n_classes = logits.shape
    probs = jax.nn.softmax(logits)
    picked = jax.nn.one_hot(Y, n_classes, dtype=logits.dtype)[:, :, None]
    eye = jnp.eye(n_classes, dtype=logits.dtype)
    return 1 / n * probs * (picked * (1 - eye / probs[:, :, None])).sum(1)


def dhprebn_closed(
    bngain: Float[Array, "1 H"],
    bnraw: Float[Array, "B H"],
    bnvar_inv: Float[Array, "1 H"],
    dhpreact: Float[Array, "B H"],
) -> Float[Array, "B H"]:
    """Exercise 3, the lecture's form, O(n): BatchNorm's backward in one step.

    dhprebn = bngain · bnvar_inv / n · (n dhpreact − Σ dhpreact − n/(n−1) bnraw Σ dhpreact bnraw);
    the derivation is that of :func:`jaxmore.rules._batch_norm`.
    """
    n = bnraw.shape[0]
    along_bnraw = (dhpreact * bnraw).sum(0)
    total = n * dhpreact - dhpreact.sum(0) - n / (n - 1) * bnraw * along_bnraw
    return bngain * bnvar_inv / n * total


def dhprebn_outer(
    bngain: Float[Array, "1 H"],
    bnraw: Float[Array, "B H"],
    bnvar_inv: Float[Array, "1 H"],
    dhpreact: Float[Array, "B H"],
) -> Float[Array, "B H"]:
    """Exercise 3, seed 001's form, O(n²): the normalisation's Jacobian, n by n, written out.

    ∂bnraw_i/∂hprebn_j = bnvar_inv (δ_ij − 1/n − bnraw_i bnraw_j / (n−1)) for every feature.
    """
    n = bnraw.shape[0]
    shared = 1 / n + 1 / (n - 1) * bnraw * bnraw[:, None]  # (n, n, H), symmetric in the rows
    return bngain * (dhpreact - (shared * dhpreact).sum(1)) * bnvar_inv
