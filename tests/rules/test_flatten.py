"""flatten, against torch autograd. It only moves numbers, so the results are equal exactly."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.rules import flatten, flatten_bwd, flatten_fwd

pytestmark = pytest.mark.usefixtures("strict_promotion")


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((3, 5), "float64"),
        ((1, 3, 5), "float32"),
        ((7, 1, 5), "float32"),
        ((7, 3, 1), "bfloat16"),
        ((2, 7, 3, 5), "float16"),
        ((0, 3, 5), "float32"),
    ],
    indirect=["dtype"],
)
def test_against_torch(oracle, shape, dtype):
    rng = np.random.default_rng(0)
    block_size = shape[-2]
    x = jnp.asarray(rng.normal(size=shape), dtype)
    y, res = flatten_fwd(x, block_size=block_size)
    dy = jnp.asarray(rng.normal(size=y.shape), dtype)
    (dx,) = flatten_bwd(res, dy, block_size=block_size)
    assert (y.dtype, dx.dtype) == (dtype, dtype)

    leaf = oracle.torch.tensor(np.asarray(x, np.float64), requires_grad=True)
    truth = leaf.flatten(-2)
    truth.backward(oracle.torch.tensor(np.asarray(dy, np.float64)))
    np.testing.assert_array_equal(np.asarray(y, np.float64), truth.detach().numpy(), strict=True)
    np.testing.assert_array_equal(np.asarray(dx, np.float64), leaf.grad.numpy(), strict=True)


@pytest.mark.parametrize("function", [flatten, flatten_fwd])
def test_other_length_of_context(function):
    with pytest.raises(ValueError, match=r"expects 5 rows \(block_size\), got x of \(2, 3, 5\)"):
        function(jnp.ones((2, 3, 5)), block_size=5)
