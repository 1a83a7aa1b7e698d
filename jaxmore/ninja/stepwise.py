"""The seeds' network in its smallest steps: Exercise 1 of "becoming a backprop ninja".

Seeds 000, 001, 003 and 004 break one network (embedding, linear, BatchNorm, tanh, linear,
cross-entropy) into nineteen intermediates and derive the gradient of each by hand. :func:`forward`
computes the intermediates under their names in the seeds. :func:`backward` computes the cotangent
of each intermediate and of the seven parameters: it mirrors the forward line by line, last line
first. Exercises 2 and 3, the same in closed form, are in :mod:`jaxmore.ninja.closed_forms` and
can be imported from here, too.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jaxmore.ninja.closed_forms import dhprebn_closed as dhprebn_closed
from jaxmore.ninja.closed_forms import dhprebn_outer as dhprebn_outer
from jaxmore.ninja.closed_forms import dlogits_closed as dlogits_closed
from jaxmore.ninja.closed_forms import dlogits_outer as dlogits_outer

EPS = 1e-5


class Parameters(NamedTuple):
    """The seven parameters, by their names in the seeds. Seed 004 has no b1: None."""

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
    """The 26 cotangents, d(loss)/d(name), in the order of the backward pass.

    Each has the shape and dtype of its variable. b1 is None where the network has none.
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
    """Compute every intermediate of the seeds' network, and its loss.

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
    """Compute every cotangent of the seeds' network, one line for each line of the forward.

    Two rules suffice. A line y = f(a, b) sends dy to each argument through its partial derivative,
    and a variable that is used on several lines collects the sum. Where the forward broadcasts an
    axis of length 1, the backward sums over it.

    The results are rounded as PyTorch's autograd rounds them, as far as the compiler allows.
    docs/exactness.md lists the lines that equal PyTorch's bit for bit, and why the others differ.

    Args:
        params: the parameters that made ``values``.
        X: (B, T) contexts.
        Y: (B,) targets.
        values: what :func:`forward` returned.

    Returns:
        The 26 cotangents, each in the shape and dtype of its variable. Where several logits of a
        row are the largest, the first one gets the whole cotangent of ``logit_maxes``, as in
        ``torch.max(dim)`` (``jax.numpy.max`` would split it). That cotangent is zero by identity,
        since the loss does not depend on the maximum that was subtracted.

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
    # logit_maxes = max_v logits: it depends on the (first) largest logit alone
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
    # bnmeani = 1/n Σ hprebn; hprebn is also used in bndiff
    dhprebn = dbndiff + 1 / n * dbnmeani
    # hprebn = embcat @ W1 + b1
    # (The barrier keeps the transpose out of the product, where XLA would sum in another order.)
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
    """Round a product before it is added to something.

    XLA would fuse product and sum into one operation with one rounding, which is more exact than
    PyTorch's two, but not the same. The ``where`` changes no value and prevents the fusion.
    """
    return jnp.where(product == 0, 0, product)


def _sum_rows(x: Float[Array, "B H"]) -> Float[Array, "1 H"]:
    """Sum over the rows in partial sums, as PyTorch does on a CPU.

    PyTorch sums sixteen rows at a time where its vectors divide the columns, else every fourth
    row. Partial sums are also more exact than one long sum, which rounds more often in sequence.
    """
    n, width = x.shape
    size, axis = (16, 1) if width % 64 == 0 else (4, 0)
    blocks = jnp.pad(x, ((0, -n % size), (0, 0))).reshape(-1, size, width)
    return _rounded(blocks.sum(axis)).sum(0, keepdims=True)
