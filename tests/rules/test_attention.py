"""causal_attention, beyond the table of tests/rules/test_ladder.py."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.rules import causal_attention, causal_attention_bwd, causal_attention_fwd

pytestmark = pytest.mark.usefixtures("strict_promotion")

forward = jax.jit(causal_attention_fwd, static_argnames="block_size")
backward = jax.jit(causal_attention_bwd, static_argnames="block_size")


def random(shape, seed=0, scale=1.0, dtype="float32"):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(scale * rng.normal(size=shape), dtype) for _ in range(4)]


def plain(q, k, v):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    scores = jnp.where(jnp.tril(jnp.ones(scores.shape[-2:], bool)), scores, -jnp.inf)
    return jax.nn.softmax(scores, -1) @ v


@pytest.mark.usefixtures("x64")
@pytest.mark.slow
def test_blocks_change_nothing():
    *qkv, do = random((2, 13, 3), dtype="float64")
    y, res = forward(*qkv)
    want = [y, res.maximum, res.total, *backward(res, do)]
    for size in (1, 5, 12):
        y, res = forward(*qkv, block_size=size)
        ours = [y, res.maximum, res.total, *backward(res, do, block_size=size)]
        for a, b in zip(ours, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)


def test_residuals_are_linear_in_t():
    q, k, v, _ = random((2, 13, 3))
    y, res = causal_attention_fwd(q, k, v, block_size=4)
    assert all(kept is given for kept, given in zip(res[:3], (q, k, v), strict=True))
    assert res.o is y
    assert res.maximum.shape == res.total.shape == (2, 13, 1)


@pytest.mark.parametrize("block_size", [2, 16])
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"], indirect=True)
@pytest.mark.quick("float64")
def test_scores_of_any_size(dtype, block_size):
    """Also where masked scores are the largest."""
    big = 1e3 if dtype == "float16" else 1e6
    q = jnp.full((5, 1), big, dtype)
    k = jnp.asarray([[-big], [-big], [0], [1], [big]], dtype)
    v = jnp.arange(5, dtype=dtype)[:, None]
    y, res = forward(q, k, v, block_size=block_size)
    np.testing.assert_array_equal(y[:, 0].astype("float32"), [0, 0.5, 2, 3, 4])
    dq, dk, dv = backward(res, jnp.ones_like(y), block_size=block_size)
    # P is a half twice in the second row, and one once in the others.
    np.testing.assert_array_equal(dv[:, 0].astype("float32"), [1.5, 0.5, 1, 1, 1])
    np.testing.assert_array_equal(dq[:, 0].astype("float32"), np.zeros(5))
    quarter = float(q[0, 0]) / 4
    np.testing.assert_array_equal(dk[:, 0].astype("float32"), [-quarter, quarter, 0, 0, 0])


def test_a_score_that_rounds_to_more_than_its_maximum():
    """Or below it: at 1e12, a score computed as k qᵀ differs by thousands from q kᵀ."""
    q, k, v, do = random((5, 2))
    _, res = forward(1e6 * q, 1e6 * k, v)
    for less in (0, 1e3, -1e3):
        other = res._replace(maximum=res.maximum - less)
        for size in (2, 5):
            assert all(jnp.isfinite(d).all() for d in backward(other, do, block_size=size))


@pytest.mark.parametrize("block_size", [3, 16])
def test_the_future_has_no_effect(block_size):
    q, k, v, do = random((7, 3))
    y, _ = forward(q, k, v, block_size=block_size)
    late = jnp.arange(7)[:, None] >= 4
    y_other, res = forward(
        q, jnp.where(late, k + 1, k), jnp.where(late, 9 * v, v), block_size=block_size
    )
    np.testing.assert_array_equal(y[:4], y_other[:4])
    dq, dk, dv = backward(res, jnp.where(late, 0, do), block_size=block_size)
    assert not any(d[4:].any() for d in (dq, dk, dv))


@pytest.mark.parametrize("block_size", [3, 16])
def test_nan_stays_in_its_head(block_size):
    """In dq it also stays in its row."""
    *qkv, do = random((2, 7, 3))
    _, res = forward(*qkv)
    dq, dk, dv = backward(res, do.at[0, 0, 0].set(jnp.nan), block_size=block_size)
    assert not any(jnp.isnan(d[1]).any() for d in (dq, dk, dv))
    assert jnp.isnan(dq[0]).any(-1).tolist() == [True] + 6 * [False]


def test_memory_of_the_gradient_at_1024():
    """At most 0.15 of the memory of JAX's gradient of the plain form."""
    q, k, v, do = [jax.ShapeDtypeStruct((2, 1024, 16), jnp.float32)] * 4

    def ours(q, k, v, do):
        y, res = causal_attention_fwd(q, k, v)
        return y, causal_attention_bwd(res, do)

    def theirs(q, k, v, do):
        y, pullback = jax.vjp(plain, q, k, v)
        return y, pullback(do)

    a, b = (
        jax.jit(f).lower(q, k, v, do).compile().memory_analysis().temp_size_in_bytes
        for f in (ours, theirs)
    )
    assert a <= 0.15 * b


@pytest.mark.parametrize(("n_rows", "pairs"), [(4, 0), (5, 3), (12, 6), (13, 10)])
def test_blocks_above_the_diagonal_are_skipped(n_rows, pairs):
    qkv = [jax.ShapeDtypeStruct((n_rows, 3), jnp.float32)] * 3
    jaxpr = str(jax.make_jaxpr(partial(causal_attention, block_size=4))(*qkv))
    assert ("scan" in jaxpr) == bool(pairs)
    assert f"length={pairs}" in jaxpr or not pairs


@pytest.mark.parametrize("block_size", [0, -1])
def test_block_size_must_be_positive(block_size):
    with pytest.raises(ValueError, match="block_size of at least 1"):
        causal_attention(*random((3, 1))[:3], block_size=block_size)
