"""The elementwise non-linearities, against torch autograd."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.rules import tanh_bwd, tanh_fwd
from tests.tolerance import TOLERANCE

pytestmark = pytest.mark.usefixtures("strict_promotion")

# Through the tails, where tanh reaches 1 in float32 (|x| = 9) and in float64 (|x| = 19).
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
    oracle.assert_close("y", y, oracle.Checked(want, abs(want).max()), TOLERANCE[dtype])
    scale = (abs(exact) * (1 + want**2)).max()
    oracle.assert_close("dx", dx, oracle.Checked(leaf.grad.numpy(), scale), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE, indirect=True)
def test_the_slope_of_tanh_lies_between_0_and_1(dtype):
    """Rounding never turns a gradient round, not even where 1 − y² is all cancellation."""
    y, res = forward(jnp.asarray(LINE, dtype))
    (slope,) = np.asarray(backward(res, jnp.asarray(np.ones(y.shape), dtype)))
    assert ((slope >= 0) & (slope <= 1)).all()
