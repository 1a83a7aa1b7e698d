"""``on_one_thread`` changes only the program, not the values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore import rules
from jaxmore.rules import _activations
from jaxmore.rules._reductions import on_one_thread
from jaxmore.runs.machine import n_threads

pytestmark = pytest.mark.usefixtures("strict_promotion")


@pytest.fixture(autouse=True)
def slow_to_wake(monkeypatch):
    monkeypatch.setattr(jax, "__version_info__", (0, 12, 0))


def compiled(function, x):
    return jax.jit(function).lower(x).compile()


@pytest.mark.parametrize("shape", [(32, 200), (3, 41, 41), (1, 2001), (1601,), (1601, 1)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.quick("float32-shape0", "bfloat16-shape3")
def test_the_values_stay_the_same(shape, dtype):
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape) * 5, dtype)
    x = x.at[(0,) * x.ndim].set(-0.0).at[(-1,) * x.ndim].set(jnp.nan)
    tanh = _activations._tanh_by_quotients
    y = compiled(lambda x: on_one_thread(tanh, x), x)(x)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert y.tobytes() == compiled(tanh, x)(x).tobytes()


def test_autodiff_does_not_enter_the_loop():
    x = jnp.linspace(-3, 3, 2000, dtype="float32")
    theirs = jax.grad(lambda x: jnp.tanh(x).sum())
    ours = jax.grad(lambda x: rules.tanh(x).sum())
    np.testing.assert_array_equal(ours(x), theirs(x))
    second = jax.vmap(jax.grad(jax.grad(jnp.tanh)))(x)
    np.testing.assert_allclose(jax.vmap(jax.grad(jax.grad(rules.tanh)))(x), second, atol=1e-6)


def test_no_thread_is_woken():
    """XLA notes in the program how it divides an operation."""
    x = jnp.ones((32, 200), "float32")
    tanh = _activations._tanh_by_quotients
    assert "outer_dimension_partitions" not in compiled(rules.tanh, x).as_text()
    if n_threads() > 1:
        assert "outer_dimension_partitions" in compiled(tanh, x).as_text()
