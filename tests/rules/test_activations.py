"""The elementwise activations, against torch autograd."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore import custom_vjp, rules
from jaxmore.rules import tanh, tanh_bwd, tanh_fwd
from tests.tolerance import TOLERANCE

pytestmark = pytest.mark.usefixtures("strict_promotion")

# Through the tails, where tanh reaches 1 in float32 (|x| > 9) and in float64 (|x| = 19).
LINE = np.concatenate([np.linspace(-25, 25, 1001), [0.0, 1e-3, -1e-3, 1e4, -1e4]])

forward = jax.jit(tanh_fwd)
backward = jax.jit(tanh_bwd)


@pytest.mark.parametrize(
    ("points", "dtype"),
    [
        (LINE[480], "float64"),
        (LINE[480:481], "float64"),
        (LINE[480:495].reshape(3, 1, 5), "float64"),
        *[(LINE, dtype) for dtype in TOLERANCE],
    ],
    indirect=["dtype"],
)
def test_tanh_against_torch(oracle, points, dtype):
    x = jnp.asarray(points, dtype)
    dy = jnp.asarray(np.random.default_rng(0).normal(size=x.shape), dtype)
    y, res = forward(x)
    (dx,) = backward(res, dy)
    assert (y.dtype, dx.dtype) == (dtype, dtype)

    leaf = oracle.torch.tensor(np.asarray(x, np.float64), requires_grad=True)
    truth = oracle.torch.tanh(leaf)
    exact = np.asarray(dy, np.float64)
    truth.backward(oracle.torch.tensor(exact))
    want = truth.detach().numpy()
    oracle.assert_close("y", y, oracle.Checked(want, abs(want)), TOLERANCE[dtype])
    scale = abs(exact) * (1 + want**2)
    oracle.assert_close("dx", dx, oracle.Checked(leaf.grad.numpy(), scale), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE, indirect=True)
def test_the_slope_of_tanh_lies_between_0_and_1(dtype):
    """Rounding never flips the sign of a gradient, not even where 1 − y² cancels."""
    y, res = forward(jnp.asarray(LINE, dtype))
    (slope,) = np.asarray(backward(res, jnp.asarray(np.ones(y.shape), dtype)))
    assert ((slope >= 0) & (slope <= 1)).all()


def test_tanh_in_float32_is_within_a_unit_and_a_half():
    """XLA's own is off by 4.9 units in the last place."""
    x = jnp.asarray(np.linspace(-12, 12, 100_001), "float32")
    y, _ = forward(x)
    error = np.abs(np.asarray(y, "float64") - np.tanh(np.asarray(x, "float64")))
    assert (error <= 1.4 * np.spacing(np.abs(y))).all()


def test_tanh_at_the_ends_and_at_zero():
    x = jnp.array([0.0, -0.0, np.inf, -np.inf, np.nan], "float32")
    for y in (tanh(x), tanh_fwd(x)[0]):
        np.testing.assert_array_equal(y, [0, 0, 1, -1, np.nan])
        assert np.signbit(y)[1]


def test_autodiff_of_tanh_and_of_the_cells_has_the_right_slope_at_zero():
    zero = jnp.zeros((1, 2), "float32")
    drop_in = custom_vjp(tanh, tanh_fwd, tanh_bwd)
    assert jax.jit(jax.grad(jax.grad(lambda x: drop_in(x) ** 2 / 2)))(0.0) == 1
    functions = {
        "tanh": tanh,
        "rnn": lambda x: rules.rnn_cell(x, zero, jnp.ones((4, 2)), zero[0]),
        "lstm": lambda c: rules.lstm_cell(zero, zero, c, jnp.ones((4, 8)), jnp.zeros(8))[0],
    }
    slopes = {
        name: jax.jit(partial(jax.jvp, function))((zero,), (jnp.ones_like(zero),))[1]
        for name, function in functions.items()
    }
    assert {name: slope[0, 0] for name, slope in slopes.items()} == {
        "tanh": 1,
        "rnn": 2,  # two inputs
        "lstm": 0.25,  # half of the state goes on, and half of its tanh goes out
    }
