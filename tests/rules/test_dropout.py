"""dropout: the mask of a key, forwards and backwards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmore
from jaxmore.rules import dropout, dropout_bwd, dropout_fwd

pytestmark = pytest.mark.usefixtures("strict_promotion")


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"], indirect=True)
@pytest.mark.quick("float64")
def test_the_same_mask_forwards_and_backwards(dtype):
    rng = np.random.default_rng(0)
    x, dy = (jnp.asarray(rng.uniform(1, 2, (41, 53)), dtype) for _ in range(2))
    key = jax.random.key(0)
    y, mask = jax.jit(dropout_fwd, static_argnames="rate")(x, key, rate=0.25)
    dx, dkey = jax.jit(dropout_bwd, static_argnames="rate")(mask, dy, rate=0.25)
    assert dkey is None
    assert mask.dtype == bool
    assert y.dtype == dx.dtype == dtype
    eps = float(jnp.finfo(dtype).eps)
    for out, inp in [(y, x), (dx, dy)]:
        want = np.where(mask, np.asarray(inp, np.float64) / 0.75, 0)
        np.testing.assert_allclose(np.asarray(out, np.float64), want, rtol=eps)
    share = float(np.asarray(mask).mean())
    assert abs(share - 0.75) < 4 * (0.25 * 0.75 / x.size) ** 0.5
    np.testing.assert_array_equal(dropout(x, key, rate=0.25) == 0, ~mask)
    assert (dropout(x, jax.random.key(1), rate=0.25) != y).any()


def test_against_torch(oracle, x64):
    """With the same mask; the dropout of torch would draw another."""
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(2, 7, 5))
    y, mask = dropout_fwd(jnp.asarray(x), jax.random.key(0), rate=0.3)
    dx, none = dropout_bwd(mask, jnp.asarray(dy), rate=0.3)
    assert none is None
    assert 0 < mask.sum() < mask.size
    leaf = oracle.torch.tensor(x, requires_grad=True)
    truth = leaf * oracle.tensor(mask) / (1 - 0.3)
    truth.backward(oracle.torch.tensor(dy))
    np.testing.assert_allclose(y, truth.detach().numpy(), rtol=1e-15)
    np.testing.assert_allclose(dx, leaf.grad.numpy(), rtol=1e-15)


def test_dropped_elements_have_no_effect():
    x = jnp.full((50,), jnp.inf)
    y, mask = dropout_fwd(x, jax.random.key(0), rate=0.5)
    dx, _ = dropout_bwd(mask, x, rate=0.5)
    assert not y[~mask].any()
    assert not dx[~mask].any()


def test_rate_zero_is_the_identity():
    x = jnp.arange(7.0)
    y, mask = dropout_fwd(x, jax.random.key(0), rate=0.0)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(dropout_bwd(mask, x, rate=0.0)[0], x)


@pytest.mark.usefixtures("x64")
def test_the_drop_in():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 41)))
    keys = jax.random.split(jax.random.key(0), 3)

    def derivatives(f):
        def loss(x, key):
            return (f(x, key) ** 3).sum()

        first = jax.grad(loss)
        second = jax.grad(lambda x, key: (first(x, key) ** 2).sum())
        return jax.jit(lambda: (jax.vmap(first)(x, keys), second(x, keys[0])))()

    ours = derivatives(jaxmore.custom_vjp(dropout, dropout_fwd, dropout_bwd, rate=0.25))
    theirs = derivatives(lambda x, key: dropout(x, key, rate=0.25))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_rate_is_a_probability_below_one(rate):
    with pytest.raises(ValueError, match=r"rate in \[0, 1\)"):
        dropout(jnp.ones(3), jax.random.key(0), rate=rate)
