"""Root mean square normalisation without a gain. (With one, see test_ladder.py.)"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore import custom_vjp
from jaxmore.rules import rms_norm, rms_norm_bwd, rms_norm_fwd

pytestmark = pytest.mark.usefixtures("strict_promotion")


def draw(shape, dtype):
    rng = np.random.default_rng(0)
    return (jnp.asarray(rng.normal(0.3, 1, shape), dtype) for _ in range(2))


@pytest.mark.parametrize("shape", [(5,), (1, 1), (3, 2, 7)])
@pytest.mark.quick("float64")
def test_against_torch(oracle, shape, dtype, tolerance):
    x, dy = draw(shape, dtype)
    y, residuals = rms_norm_fwd(x, eps=0.1)
    dx, dgain = rms_norm_bwd(residuals, dy, eps=0.1)
    theirs = oracle.tensor(x).double().requires_grad_()
    expected = oracle.torch.nn.functional.rms_norm(theirs, shape[-1:], eps=0.1)
    expected.backward(oracle.tensor(dy).double())
    assert dgain is None and residuals.gain is None
    for ours, want in [(y, expected.detach()), (dx, theirs.grad)]:
        assert ours.dtype == dtype
        scale = max(float(abs(want).max()), float(abs(dy).max()))
        np.testing.assert_allclose(ours, want.numpy(), rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.quick("bfloat16")
def test_it_is_a_gain_of_ones(dtype):
    x, dy = draw((3, 5), dtype)
    y, residuals = rms_norm_fwd(x)
    one, residuals_of_one = rms_norm_fwd(x, jnp.ones(5, dtype))
    np.testing.assert_array_equal(y, one)
    dx, dx_of_one = rms_norm_bwd(residuals, dy)[0], rms_norm_bwd(residuals_of_one, dy)[0]
    np.testing.assert_array_equal(dx, dx_of_one)
    assert y.dtype == dx.dtype == dtype


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("args", [(), (None,)])
@pytest.mark.quick("args0")
def test_under_jax_grad(args):
    x, dy = draw((3, 5), "float64")
    ours = custom_vjp(rms_norm, rms_norm_fwd, rms_norm_bwd)
    got, want = (jax.grad(lambda x, f=f: (f(x, *args) * dy).sum())(x) for f in (ours, rms_norm))
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-14)
