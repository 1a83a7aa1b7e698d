"""Exact causal self-attention in blocks, with memory linear in T."""

import math
from typing import NamedTuple, cast

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jaxmore.rules._precision import accumulator, widen
from jaxmore.rules._recompute import recompute_after
from jaxmore.rules._reductions import max_keepdims


class AttentionResiduals(NamedTuple):
    """The inputs, the output, and two numbers per row: m and l.

    The backward pass recomputes P, which has T² numbers per head, block by block as exp(S − m) / l.
    This takes five matrix products instead of four, and saves 4 D + 2 numbers per row instead of T.
    Saving m and l separately, not as m + log l, keeps P accurate for scores of any size.
    """

    q: Float[Array, "*B T D"]
    k: Float[Array, "*B T D"]
    v: Float[Array, "*B T D"]
    o: Float[Array, "*B T D"]
    maximum: Float[Array, "*B T 1"]
    total: Float[Array, "*B T 1"]


def causal_attention(
    q: Float[Array, "*B T D"],
    k: Float[Array, "*B T D"],
    v: Float[Array, "*B T D"],
    *,
    block_size: int = 128,
) -> Float[Array, "*B T D"]:
    """Average the values up to each position, weighted by attention: o = softmax(mask(q kᵀ/√D)) v.

    For each head (all leading axes are batch and head axes)::

        S = q kᵀ / √D        P[t, s] = exp(S[t, s] − m[t]) / l[t] for s ≤ t, else 0        o = P v
        m[t] = max over s ≤ t of S[t, s]        l[t] = sum over s ≤ t of exp(S[t, s] − m[t])

    so each row of P is a softmax over the keys that its query may attend to.

    Derivation. o = P v is a matrix product, so by the cyclic property of tr (see ``linear``)::

        dv = Pᵀ do          dP = do vᵀ

    Each row of P is a softmax (see ``softmax``). Where S is masked, P is zero and so is dS::

        dS = P · (dP − δ),    δ[t] = sum over s of dP[t, s] P[t, s]

    δ does not need a whole row of P. Insert dP[t, s] = sum_d do[t, d] v[s, d], exchange the sums::

        δ[t] = sum_d do[t, d] · sum_s P[t, s] v[s, d] = sum_d do[t, d] o[t, d]

    Finally S = q kᵀ/√D is again a matrix product::

        dq = dS k / √D          dk = dSᵀ q / √D

    Every term is a sum over pairs (t, s), and P[t, s] follows from q[t], k[s], m[t] and l[t]. Both
    passes therefore scan over the pairs of blocks (queries i, keys j ≤ i) and accumulate; they
    skip the blocks above the diagonal. The forward pass knows m and l only at the end. It carries
    the running maximum m, the sum l of exp(S − m) and the sum a of exp(S − m) v. When a block
    raises m to m', it first scales both sums by exp(m − m'), which leaves a/l unchanged. The
    backward pass over blocks divides do by l once per row, computes δ from the quotient, and then
    uses exp(S − m) in place of P.

    In a single block every row of P is complete. The code divides it by its own sum, so that it
    sums to one, and then adding a constant to a row of dP changes nothing. It subtracts the mean
    under P that rounding leaves in dP − δ::

        dS = P · (u − sum over s of P[t, s] u[t, s]),    u = dP − δ

    Args:
        q: (*B, T, D), queries.
        k: (*B, T, D), keys.
        v: (*B, T, D), values.
        block_size: the largest number of rows in a block. Memory beyond inputs and outputs grows
            with its square. A sequence that is no longer than this is one block, without a loop.

    Returns:
        o (*B, T, D), with the dtype of q. Scores, exponentials and sums are in at least float32.

    Raises:
        ValueError: ``block_size`` is below 1.

    Source: Dao, FlashAttention-2 (2023); Vaswani et al., Attention is all you need (2017).

    >>> import jax.numpy as jnp
    >>> q = k = jnp.zeros((3, 1))  # equal scores: the causal mean
    >>> causal_attention(q, k, jnp.array([[2.0], [4.0], [9.0]]))[:, 0].tolist()
    [2.0, 3.0, 5.0]
    """
    return causal_attention_fwd(q, k, v, block_size=block_size)[0]


def causal_attention_fwd(
    q: Float[Array, "*B T D"],
    k: Float[Array, "*B T D"],
    v: Float[Array, "*B T D"],
    *,
    block_size: int = 128,
) -> tuple[Float[Array, "*B T D"], AttentionResiduals]:
    """Return ``causal_attention(q, k, v)`` and its residuals."""
    n_rows, n_blocks, size = _blocks(q, block_size)
    wide = accumulator(q.dtype)
    # Pad the last block. No real query attends to the padded keys, which come after it.
    q_pad, k_pad, v_pad = (_pad(x, n_blocks * size) for x in (q, k, v))
    if n_blocks == 1:
        acc, maximum, total = _attend(q_pad, k_pad, v_pad, jnp.array(0, jnp.int32))
    else:

        def step(carry: _Sums, pair: tuple[Array, Array]) -> tuple[_Sums, None]:
            i, j = pair
            old = tuple(_cut(x, i, size) for x in carry)
            block = _cut(q_pad, i, size), _cut(k_pad, j, size), _cut(v_pad, j, size)
            new = _merge(cast(_Sums, old), _attend(*block, (i - j) * size))
            return cast(_Sums, tuple(_put(x, u, i) for x, u in zip(carry, new, strict=True))), None

        rows = (*q.shape[:-2], n_blocks * size)
        start = (
            jnp.zeros((*rows, v.shape[-1]), wide),
            jnp.full((*rows, 1), MASK_VALUE, wide),
            jnp.zeros((*rows, 1), wide),
        )
        (acc, maximum, total), _ = lax.scan(step, start, _pairs(n_blocks))
    acc, maximum, total = (x[..., :n_rows, :] for x in (acc, maximum, total))
    o = (acc / total).astype(q.dtype)
    return o, AttentionResiduals(q, k, v, o, maximum, total)


def causal_attention_bwd(
    res: AttentionResiduals, do: Float[Array, "*B T D"], *, block_size: int = 128
) -> tuple[Float[Array, "*B T D"], Float[Array, "*B T D"], Float[Array, "*B T D"]]:
    """Compute dv = Pᵀ do, dS = P (do vᵀ − Σ do o), dq = dS k/√D, dk = dSᵀ q/√D by blocks."""
    q, k, v, o, maximum, total = res
    n_rows, n_blocks, size = _blocks(q, block_size)
    wide = accumulator(q.dtype)
    do = widen(do)
    # With several blocks, divide by l here, once for dv, dP and δ: the rounding error is then
    # relative to dP − δ and not to dP.
    do = do if n_blocks == 1 else do / total
    delta = (do * widen(o)).sum(-1, keepdims=True)
    # The padded rows have do = δ = 0, so they contribute nothing to dk and dv.
    rows = (q, k, v, maximum, do, delta)
    q, k, v, maximum, do, delta = (_pad(x, n_blocks * size) for x in rows)
    if n_blocks == 1:
        # Without a loop, XLA would merge these scores with those of the forward pass and keep them.
        q = recompute_after(delta, q)
        grads = _attend_bwd(q, k, v, maximum, do, delta, jnp.array(0, jnp.int32), whole=True)
    else:

        def step(carry: _Sums, pair: tuple[Array, Array]) -> tuple[_Sums, None]:
            i, j = pair
            q_i, max_i, do_i, delta_i = (_cut(x, i, size) for x in (q, maximum, do, delta))
            k_j, v_j = _cut(k, j, size), _cut(v, j, size)
            new = _attend_bwd(q_i, k_j, v_j, max_i, do_i, delta_i, (i - j) * size)
            places = zip(carry, new, (i, j, j), strict=True)
            return cast(_Sums, tuple(_put(x, _cut(x, n, size) + u, n) for x, u, n in places)), None

        start = cast(_Sums, tuple(jnp.zeros_like(x, wide) for x in (q, k, v)))
        grads, _ = lax.scan(step, start, _pairs(n_blocks))
    dq, dk, dv = (x[..., :n_rows, :].astype(q.dtype) for x in grads)
    return dq, dk, dv


_Sums = tuple[Array, Array, Array]

# Far below any score but finite, so that a fully masked row (which is never used) is not NaN.
# Scores are at least float32; float16 could not represent it.
MASK_VALUE = -1e30


def _attend(
    q: Float[Array, "*B b D"],
    k: Float[Array, "*B b D"],
    v: Float[Array, "*B b D"],
    shift: Int[Array, ""],
) -> _Sums:
    # For one block: (sum of exp(S − m) v, m, sum of exp(S − m)).
    mask = _causal_mask(q.shape[-2], shift)
    scores = _scores(q, k, mask)
    maximum = max_keepdims(scores)
    weights = jnp.where(mask, jnp.exp(scores - maximum), 0)
    return weights @ widen(v), maximum, weights.sum(-1, keepdims=True)


def _merge(old: _Sums, new: _Sums) -> _Sums:
    maximum = jnp.maximum(old[1], new[1])
    scale_old, scale_new = jnp.exp(old[1] - maximum), jnp.exp(new[1] - maximum)
    acc = old[0] * scale_old + new[0] * scale_new
    return acc, maximum, old[2] * scale_old + new[2] * scale_new


def _attend_bwd(
    q: Float[Array, "*B b D"],
    k: Float[Array, "*B b D"],
    v: Float[Array, "*B b D"],
    maximum: Float[Array, "*B b 1"],
    do: Float[Array, "*B b D"],
    delta: Float[Array, "*B b 1"],
    shift: Int[Array, ""],
    *,
    whole: bool = False,
) -> _Sums:
    # The contributions of one block to dq, dk and dv. It computes Pᵀ and dSᵀ because two of the
    # three products need the transpose. With several blocks, do and δ come divided by l and P is
    # not normalised; with a single block (``whole``), P is divided by its own sum.
    mask_t = _causal_mask(q.shape[-2], shift).T
    # A score computed as k qᵀ may round above the maximum; at 1e12 the excess would overflow exp.
    # Subtract the excess as a constant, so that second derivatives have no kink.
    above_t = _scores(k, q, mask_t) - maximum.mT
    above_t = above_t - lax.stop_gradient(jnp.maximum(above_t, 0))
    probs_t = jnp.where(mask_t, jnp.exp(above_t), 0)
    dprobs_t = widen(v) @ do.mT - delta.mT
    if whole:
        # All keys are here, so normalise P to sum to one, and subtract the mean of dP − δ under P,
        # which is zero except for rounding. A row with a single key then has P = 1 and dS = 0
        # exactly. (At 1e12 all scores of a row may round far below its maximum: its sum is 0.)
        total = probs_t.sum(-2, keepdims=True)
        probs_t = probs_t / jnp.where(total == 0, 1, total)
        dprobs_t = dprobs_t - (probs_t * dprobs_t).sum(-2, keepdims=True)
    dscores_t = probs_t * dprobs_t
    scale = 1 / math.sqrt(q.shape[-1])
    # Not dscores_t.mT @ k: XLA would copy the transposed block, which is wider than k.
    dq_t = widen(k).mT @ dscores_t
    return dq_t.mT * scale, (dscores_t @ widen(q)) * scale, probs_t @ do


def _causal_mask(size: int, shift: Int[Array, ""]) -> Bool[Array, "b b"]:
    # Row t is a query that stands ``shift`` positions after the key of column t.
    place = jnp.arange(size, dtype=jnp.int32)
    return place[:, None] + shift >= place


def _scores(
    q: Float[Array, "*B b D"], k: Float[Array, "*B b D"], mask: Bool[Array, "b b"]
) -> Float[Array, "*B b b"]:
    # The score of a masked pair is masked here, and its exponential again by the caller, so that
    # no value and no derivative of any order overflows there.
    scores = (widen(q) @ widen(k).mT) * (1 / math.sqrt(q.shape[-1]))
    return jnp.where(mask, scores, MASK_VALUE)


def _blocks(q: Float[Array, "*B T D"], block_size: int) -> tuple[int, int, int]:
    # T, the number of blocks and their common size: 150 rows are 2 blocks of 80, not of 128. The
    # size is rounded up to a multiple of 8 if that adds at most a seventh, because XLA's CPU
    # compiler vectorises 16 exponentials but not 15.
    if block_size < 1:
        raise ValueError(f"causal_attention needs a block_size of at least 1, got {block_size}")
    n_rows = q.shape[-2]
    n_blocks = max(-(-n_rows // block_size), 1)
    size = -(-n_rows // n_blocks)
    padded = -(-size // 8) * 8
    return n_rows, n_blocks, padded if padded <= block_size and 7 * padded <= 8 * size else size


def _pairs(n_blocks: int) -> tuple[Int[Array, " P"], Int[Array, " P"]]:
    i, j = np.tril_indices(n_blocks)
    return jnp.asarray(i, jnp.int32), jnp.asarray(j, jnp.int32)


def _pad(x: Float[Array, "*B T D"], n_rows: int) -> Float[Array, "*B S D"]:
    return jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(0, n_rows - x.shape[-2]), (0, 0)])


def _cut(x: Float[Array, "*B T D"], i: Int[Array, ""], size: int) -> Float[Array, "*B b D"]:
    return lax.dynamic_slice_in_dim(x, i * size, size, axis=-2)


def _put(
    x: Float[Array, "*B T D"], block: Float[Array, "*B b D"], i: Int[Array, ""]
) -> Float[Array, "*B T D"]:
    return lax.dynamic_update_slice_in_dim(x, block, i * block.shape[-2], axis=-2)
