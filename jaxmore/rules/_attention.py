"""Causal self-attention in blocks: exact, in memory linear in T."""

import math
from typing import NamedTuple, cast

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jaxmore.rules._precision import accumulator, widen
from jaxmore.rules._recompute import after
from jaxmore.rules._reductions import kept_maximum


class AttentionResiduals(NamedTuple):
    """The inputs, the output, and two numbers a row: m and l.

    P, T² numbers a head, is recomputed block by block as exp(S − m) / l: one matrix product more
    in the backward (five for four), for 4 D + 2 numbers a row kept instead of T. Keeping m and l
    apart (not m + log l, their log-sum-exp) loses no digit of P, however large the scores.
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
    """Every query averages the values at and before its place: o = softmax(mask(q kᵀ/√D)) v.

    Per head (all leading axes are batch and heads)::

        S = q kᵀ / √D        P[t, s] = exp(S[t, s] − m[t]) / l[t] for s ≤ t, else 0        o = P v
        m[t] = max over s ≤ t of S[t, s]        l[t] = sum over s ≤ t of exp(S[t, s] − m[t])

    so each row of P is a softmax over the keys that its query may see.

    Derivation. o = P v is a product of matrices, so by tr's cyclic rule (see ``linear``)::

        dv = Pᵀ do          dP = do vᵀ

    Each row of P is a softmax (see ``softmax``), where S is masked P is zero, and so is dS::

        dS = P · (dP − δ),    δ[t] = sum over s of dP[t, s] P[t, s]

    δ needs no row of P at once: dP[t, s] = sum_d do[t, d] v[s, d], and with the sums exchanged::

        δ[t] = sum_d do[t, d] · sum_s P[t, s] v[s, d] = sum_d do[t, d] o[t, d]

    and S = q kᵀ/√D is a product again::

        dq = dS k / √D          dk = dSᵀ q / √D

    Every term is a sum over pairs (t, s), and P[t, s] follows from q[t], k[s], m[t] and l[t]. So
    both passes go through the pairs of blocks (queries i, keys j ≤ i) in one scan and add up;
    blocks above the diagonal are not visited. The forward knows m and l at the end only: it keeps
    the maximum m so far, the total l of exp(S − m) and the sum a of exp(S − m) v, and when a
    block raises m to m', it scales both by exp(m − m') first, which does not change a/l. The
    backward over blocks divides do by l at once, a row at a time, makes δ of that, and has
    exp(S − m) in the place of P.

    In one block a row of P is whole. There it is divided by its own sum, and as it sums to one, a
    constant added to a row of dP changes nothing: what rounding left in dP − δ of a mean by P is
    taken off::

        dS = P · (u − sum over s of P[t, s] u[t, s]),    u = dP − δ

    Args:
        q: (*B, T, D), queries.
        k: (*B, T, D), keys.
        v: (*B, T, D), values.
        block_size: the most rows of a block; memory beyond inputs and outputs is its square.
            Up to this T there is one block and no loop.

    Returns:
        o (*B, T, D), the dtype of q; scores, exponentials and sums in at least float32.

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
    """``causal_attention(q, k, v)`` and its residuals."""
    n_rows, n_blocks, size = _blocks(q, block_size)
    wide = accumulator(q.dtype)
    # The last block is padded. No query of ours sees a key after it.
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
            jnp.full((*rows, 1), MASKED, wide),
            jnp.zeros((*rows, 1), wide),
        )
        (acc, maximum, total), _ = lax.scan(step, start, _pairs(n_blocks))
    acc, maximum, total = (x[..., :n_rows, :] for x in (acc, maximum, total))
    o = (acc / total).astype(q.dtype)
    return o, AttentionResiduals(q, k, v, o, maximum, total)


def causal_attention_bwd(
    res: AttentionResiduals, do: Float[Array, "*B T D"], *, block_size: int = 128
) -> tuple[Float[Array, "*B T D"], Float[Array, "*B T D"], Float[Array, "*B T D"]]:
    """dv = Pᵀ do, dS = P (do vᵀ − Σ do o), dq = dS k/√D, dk = dSᵀ q/√D, block by block."""
    q, k, v, o, maximum, total = res
    n_rows, n_blocks, size = _blocks(q, block_size)
    wide = accumulator(q.dtype)
    do = widen(do)
    # Over blocks the l of P, in one place for dv, dP and δ: its rounding is then small beside
    # dP − δ, not beside dP alone.
    do = do if n_blocks == 1 else do / total
    delta = (do * widen(o)).sum(-1, keepdims=True)
    # The padded rows have do = δ = 0, so they add nothing to dk and dv.
    rows = (q, k, v, maximum, do, delta)
    q, k, v, maximum, do, delta = (_pad(x, n_blocks * size) for x in rows)
    if n_blocks == 1:
        # Without a loop around them the scores would be taken for the forward's, and kept.
        q = after(delta, q)
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

# Far below any score, yet finite: a row of masks alone stays a number (and is not used). In
# float32 at least, for scores are; float16 has no such number.
MASKED = -1e30


def _attend(
    q: Float[Array, "*B b D"],
    k: Float[Array, "*B b D"],
    v: Float[Array, "*B b D"],
    shift: Int[Array, ""],
) -> _Sums:
    # Of one block: (sum of exp(S − m) v, m, sum of exp(S − m)).
    seen = _seen(q.shape[-2], shift)
    scores = _scores(q, k, seen)
    maximum = kept_maximum(scores)
    weights = jnp.where(seen, jnp.exp(scores - maximum), 0)
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
    # Of one block: its shares of dq, dk, dv. Pᵀ and dSᵀ are made, not P and dS: of the three
    # products that they enter, two want them so. Over blocks do and δ come divided by l, and P is
    # not; of one block (``whole``) P is divided by its own sum.
    seen_t = _seen(q.shape[-2], shift).T
    # Made as k qᵀ a score may round to more than the maximum, at 1e12 by enough to overflow exp.
    # The excess is taken off, as a constant: a derivative of this derivative has no kink.
    above_t = _scores(k, q, seen_t) - maximum.mT
    above_t = above_t - lax.stop_gradient(jnp.maximum(above_t, 0))
    probs_t = jnp.where(seen_t, jnp.exp(above_t), 0)
    dprobs_t = widen(v) @ do.mT - delta.mT
    if whole:
        # All keys are here, so P is made to sum to one; and dP less δ has a mean by P of zero but
        # for roundings, which are taken off. A key alone in its row has 1 and 0, to the last bit.
        # (At 1e12 all scores of a row may round to far less than its maximum: no weight is left.)
        total = probs_t.sum(-2, keepdims=True)
        probs_t = probs_t / jnp.where(total == 0, 1, total)
        dprobs_t = dprobs_t - (probs_t * dprobs_t).sum(-2, keepdims=True)
    dscores_t = probs_t * dprobs_t
    scale = 1 / math.sqrt(q.shape[-1])
    return (dscores_t.mT @ widen(k)) * scale, (dscores_t @ widen(q)) * scale, probs_t @ do


def _seen(size: int, shift: Int[Array, ""]) -> Bool[Array, "b b"]:
    # Query t (down) of this block is ``shift`` rows further down than key t (across).
    place = jnp.arange(size, dtype=jnp.int32)
    return place[:, None] + shift >= place


def _scores(
    q: Float[Array, "*B b D"], k: Float[Array, "*B b D"], seen: Bool[Array, "b b"]
) -> Float[Array, "*B b b"]:
    # Where a pair is masked the score is masked here and its exponential again by the caller:
    # so neither a value nor a derivative of any order sees an overflow there.
    scores = (widen(q) @ widen(k).mT) * (1 / math.sqrt(q.shape[-1]))
    return jnp.where(seen, scores, MASKED)


def _blocks(q: Float[Array, "*B T D"], block_size: int) -> tuple[int, int, int]:
    # T, the number of blocks and their equal size: 150 rows are 2 blocks of 80, not of 128. A
    # multiple of 8 if that is a seventh more at most: XLA's CPU compiler makes 15 exponentials one
    # by one, and 16 at once.
    if block_size < 1:
        raise ValueError(f"causal_attention takes a block_size of at least 1, got {block_size}")
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
