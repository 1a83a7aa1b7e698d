"""Differences, the complex step and condition scales agree with autodiff and mpmath."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxmore import rules
from jaxmore.testing import oracles
from jaxmore.testing.oracles.complex_step import complex_step
from jaxmore.testing.oracles.condition import condition_scales
from jaxmore.testing.oracles.differences import central_differences

pytestmark = pytest.mark.usefixtures("x64")
RANDOM = np.random.default_rng(0)


def draw(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape)


def rnn(xs, w, h):
    def step(h, x):
        h = jnp.tanh(h @ w + x)
        return h, h

    return jax.lax.scan(step, h, xs, reverse=True)


FUNCTIONS = {
    "tanh": (jnp.tanh, (draw(3, 5),)),
    "product": (lambda x, w: x @ w, (draw(3, 5), draw(5, 2))),
    "norm": (rules.batch_norm, (draw(5, 3), draw(3), draw(3))),
    "quotient": (lambda x, y: x / y, (draw(7), draw(7) + 3)),
    "powers": (lambda x: x**3 - x**-2.5 + jnp.sqrt(x), (abs(draw(5)) + 0.1,)),
    "scan": (rnn, (draw(4, 2, 3), draw(3, 3), draw(2, 3))),
    "checkpoint": (jax.checkpoint(lambda x: jnp.sin(jnp.exp(x))), (draw(4),)),
    "sort": (jnp.sort, (draw(5),)),
    "softmax": (jax.nn.softmax, (draw(3, 4),)),
    "where": (lambda x: jnp.where(x > 0, jax.nn.gelu(x), 2 * x), (draw(6),)),
    "gather": (lambda x: x[jnp.array([2, 0, 2])], (draw(4, 2),)),
    "cumulative": (lambda x: jnp.cumsum(x, 0)[::-1] * x, (draw(5, 2),)),
    "own gradient": (lambda x: jax.nn.relu(x) + jax.nn.silu(x), (draw(5),)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.quick("sort", "gather")
def test_oracles_agree(name: str):
    function, inputs = FUNCTIONS[name]
    dy = jax.tree.map(lambda y: draw(*y.shape), jax.eval_shape(function, *inputs))
    exact = oracles.cotangents(function, inputs, dy)
    differences = central_differences(function, inputs, dy)
    scales = jax.jit(lambda *x: condition_scales(function, x, dy))(*inputs)
    for i, d in enumerate(exact):
        scale = np.max(scales[i])
        assert np.all(scales[i] >= np.abs(d) * (1 - 1e-9))
        off = np.abs(differences.value[i] - d)
        assert off.max() < 1e-9 * scale
        assert (off <= 4 * differences.error[i]).all()
        assert (differences.error[i] < 1e-9 * scale).all()


def test_the_complex_step_loses_no_digits():
    x = np.array([9.0, 12.0, -9.0, 0.1])
    (slope,) = complex_step(jnp.tanh, (x,), np.ones(4))
    np.testing.assert_allclose(slope, np.cosh(x) ** -2, rtol=1e-7)
    assert complex_step(jax.lax.erf, (x,), np.ones(4)) is None


def test_what_cancels_keeps_its_scale():
    """A bias before BatchNorm: its gradient is zero by identity, its scale is not."""
    x, gain, bias, dy = map(jnp.asarray, (draw(7, 3), draw(3), draw(3), draw(7, 3)))

    def with_bias(b1):
        return rules.batch_norm(x + b1, gain, bias)

    (gradient,) = oracles.cotangents(with_bias, (draw(3),), dy)
    (scale,) = condition_scales(with_bias, (draw(3),), dy)
    assert np.abs(gradient).max() < 1e-13
    assert (scale > 0.1).all()


def test_a_tail_counts_the_rounding_of_its_derivative():
    """1 − y² at y = 1 − 1e-16: exact where it is tiny, but only to the last bit of one."""
    x = np.array([20.0])
    (scale,) = condition_scales(jnp.tanh, (x,), np.ones(1))
    assert 1 < scale[0] < 5


def test_differences_at_a_kink_show_both_slopes():
    differences = central_differences(jnp.abs, (np.array([0.0, 1.0]),), np.array([2.0, 3.0]))
    np.testing.assert_allclose(differences.low[0], [-2, 3])
    np.testing.assert_allclose(differences.high[0], [2, 3])


def test_an_empty_input_has_no_differences():
    differences = central_differences(jnp.tanh, (np.zeros((0, 3)),), np.zeros((0, 3)))
    assert differences.value[0].shape == (0, 3)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tanh", {}),
        ("sigmoid", {}),
        ("gelu", {"approximate": True}),
        ("gelu", {"approximate": False}),
    ],
)
@pytest.mark.parametrize("at", [-30.0, -9.0, -1e-9, 0.0, 0.3, 9.0, 30.0])
@pytest.mark.quick("30.0")
def test_the_tails_of_activations(name: str, options: dict[str, bool], at: float):
    """Against 50 digits: a few ulps of the terms, where differences have lost them all."""
    functions = {
        "tanh": mpmath.tanh,
        "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
        "gelu": lambda x: x * mpmath.ncdf(x),
    }
    function = functions[name]
    if options.get("approximate"):
        c = mpmath.sqrt(2 / mpmath.pi)
        function = lambda x: x / 2 * (1 + mpmath.tanh(c * (x + mpmath.mpf("0.044715") * x**3)))  # noqa: E731
    with mpmath.workdps(50):
        truth = float(mpmath.diff(function, mpmath.mpf(at)))
    fwd, bwd = getattr(rules, f"{name}_fwd"), getattr(rules, f"{name}_bwd")
    _, residuals = fwd(jnp.array([at]), **options)
    (slope,) = bwd(residuals, jnp.ones(1), **options)
    np.testing.assert_allclose(slope[0], truth, rtol=1e-14, atol=1e-15)


def test_bytes_are_counted_once():
    x = jnp.ones((3, 5), "float32")
    assert oracles.count_bytes(lambda x: (x, x, x + 1, 2.0), [x]) == 120
    assert oracles.kept_bytes(jnp.sin, [x]) == 60
