"""``recompute_after`` changes only the order of computation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.rules._recompute import recompute_after

pytestmark = pytest.mark.usefixtures("strict_promotion")


@pytest.mark.parametrize("signal", [0.0, -1.0, jnp.inf])
def test_residuals_stay_as_they_are(signal):
    residuals = {"x": jnp.array([1.5, -0.0, jnp.inf, jnp.nan], "bfloat16"), "r": jnp.ones((2, 0))}
    out = jax.jit(recompute_after)(jnp.array(signal), residuals)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), out) == jax.tree.map(
        lambda a: (a.shape, a.dtype), residuals
    )
    assert out["x"].tobytes() == residuals["x"].tobytes()


def test_nan_stays_in_its_row():
    signal, x = jnp.array([[jnp.nan], [2.0]]), jnp.array([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(recompute_after(signal, x), [[jnp.nan, jnp.nan], [3, 4]])


def test_the_compiler_recomputes():
    """The same expression before and after the cotangent: two exponentials, not one."""

    def both(x, dy):
        return jnp.exp(x) @ dy, jnp.exp(recompute_after(dy, x)) @ dy

    x, dy = jnp.asarray(np.random.default_rng(0).normal(size=(2, 64, 64)), "float32")
    optimised = jax.jit(both).lower(x, dy).compile().as_text()
    assert optimised.count(" exponential(") == 2
