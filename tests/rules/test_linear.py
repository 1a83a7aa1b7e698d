"""linear, against torch autograd."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.rules import linear_bwd, linear_fwd
from tests.tolerance import TOLERANCE

pytestmark = pytest.mark.usefixtures("strict_promotion")

forward = jax.jit(linear_fwd)
backward = jax.jit(linear_bwd)


@pytest.mark.parametrize(
    ("leading", "n_in", "n_out", "with_bias", "dtype"),
    [
        ((), 3, 5, True, "float64"),
        ((1,), 3, 1, True, "float64"),
        ((7,), 1, 5, True, "float64"),
        ((2, 3), 5, 4, True, "float64"),
        ((2, 3), 5, 4, False, "float64"),
        ((7,), 3, 5, False, "float32"),
        *[
            (*sizes, True, dtype)
            for sizes in [((4096,), 3, 2), ((2,), 4096, 3), ((2,), 3, 4096)]
            for dtype in TOLERANCE
        ],
    ],
    indirect=["dtype"],
)
@pytest.mark.quick("float64")
def test_against_torch(oracle, leading, n_in, n_out, with_bias, dtype):
    rng = np.random.default_rng(0)
    shapes = [(*leading, n_in), (n_in, n_out), (n_out,), (*leading, n_out)]
    x, weight, bias, dy = arrays = [jnp.asarray(rng.normal(1, 1, s), dtype) for s in shapes]
    y, res = forward(x, weight, bias if with_bias else None)
    ours = [y, *backward(res, dy)]

    # The reference for every dtype: float64 from the same rounded inputs.
    exact = [np.asarray(a, np.float64) for a in arrays]
    leaves = [oracle.torch.tensor(a, requires_grad=True) for a in exact[: 2 + with_bias]]
    truth = oracle.torch.nn.functional.linear(leaves[0], leaves[1].T, *leaves[2:])
    truth.backward(oracle.torch.tensor(exact[3]))
    wants = [truth.detach(), *(leaf.grad for leaf in leaves)]

    x, weight, bias, dy = [abs(a) for a in exact]
    rows, drows = x.reshape(-1, n_in), dy.reshape(-1, n_out)
    scales = [x @ weight + bias, dy @ weight.T, rows.T @ drows, drows.sum(0)]
    names = ["y", "dx", "dweight", "dbias"][: len(wants)]
    for name, got, want, scale in zip(names, ours, wants, scales, strict=False):
        assert got.dtype == dtype
        oracle.assert_close(name, got, oracle.Checked(want.numpy(), scale), TOLERANCE[dtype])


@pytest.mark.parametrize(("dtype", "big"), [("bfloat16", 256), ("float16", 2048)])
def test_the_bias_is_added_before_rounding(dtype, big):
    """In 16 bits big + 1 rounds to big; a sum that is rounded only once keeps the 1."""
    weight, bias = jnp.asarray([[big], [1]], dtype), jnp.asarray([-big], dtype)
    y, _ = forward(jnp.asarray([1, 1], dtype), weight, bias)
    assert y.tolist() == [1]


def test_no_rows():
    """The sums over an empty batch are zero."""
    y, res = forward(jnp.ones((0, 3)), jnp.ones((3, 5)), jnp.ones(5))
    dx, dweight, dbias = backward(res, y)
    assert (y.shape, dx.shape) == ((0, 5), (0, 3))
    np.testing.assert_array_equal(dweight, np.zeros((3, 5)))
    np.testing.assert_array_equal(dbias, np.zeros(5))
