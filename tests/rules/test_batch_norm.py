"""batch_norm, against torch autograd through the formula, with torch's own unbiased variance."""

from inspect import signature

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.rules import (
    batch_norm,
    batch_norm_bwd,
    batch_norm_fwd,
    batch_norm_inference,
    batch_norm_statistics,
)
from tests.tolerance import TOLERANCE

pytestmark = pytest.mark.usefixtures("strict_promotion")

forward = jax.jit(batch_norm_fwd, static_argnames="eps")
backward = jax.jit(batch_norm_bwd, static_argnames="eps")
inference = jax.jit(batch_norm_inference, static_argnames="eps")


@pytest.mark.parametrize(
    ("shape", "eps", "std", "dtype"),
    [
        ((2, 1), 1e-5, 1.0, "float64"),
        ((2, 3), 0.1, 1.0, "float64"),
        ((7, 5), 1e-5, 1.0, "float64"),
        ((7, 1, 5), 0.1, 1.0, "float64"),
        ((1, 2, 5), 1e-5, 1.0, "float64"),
        ((3, 2, 4, 5), 0.1, 1.0, "float64"),
        # Nearly constant and constant: only eps keeps the root from zero.
        *[((7, 5), 1e-5, std, dtype) for std in [1e-8, 0.0] for dtype in ["float64", "float32"]],
        *[((4096, 3), 1e-5, 1.0, dtype) for dtype in TOLERANCE],
    ],
    indirect=["dtype"],
)
@pytest.mark.quick("shape1-0.1-1.0-float64", "shape5-0.1-1.0-float64", "shape8-1e-05-0.0-float64")
def test_against_torch(oracle, shape, eps, std, dtype):
    rng = np.random.default_rng(0)
    size = shape[-1]
    x = jnp.asarray(rng.normal(1, std, shape), dtype)
    gain, bias = jnp.asarray(rng.normal(1, 1, (2, size)), dtype)
    # Correlated with x, so that dgain too is a long sum of terms of one sign.
    dy = x + jnp.asarray(rng.normal(1, 1, shape), dtype)
    y, res = forward(x, gain, bias, eps=eps)
    ours = [y, *backward(res, dy, eps=eps)]

    # The reference for every dtype: float64 from the same rounded inputs.
    exact = [np.asarray(a, np.float64) for a in (x, gain, bias, dy)]
    leaves = [oracle.torch.tensor(a, requires_grad=True) for a in exact[:3]]
    batch = tuple(range(len(shape) - 1))
    var, mean = oracle.torch.var_mean(leaves[0], batch, correction=1)
    truth = leaves[1] * (leaves[0] - mean) / oracle.torch.sqrt(var + eps) + leaves[2]
    truth.backward(oracle.torch.tensor(exact[3]))
    wants = [truth.detach(), *(leaf.grad for leaf in leaves)]

    x, gain, bias, dy = [abs(a) for a in exact]
    n = x.size // size
    r = (var.detach().numpy() + eps) ** -0.5
    x_hat = (x + x.mean(batch)) * r  # x − mean, in absolute terms
    scales = [
        gain * x_hat + bias,
        gain * r * (dy + dy.mean(batch) + x_hat * (dy * x_hat).sum(batch) / (n - 1)),
        (dy * x_hat).sum(batch),
        dy.sum(batch),
    ]
    names = ["y", "dx", "dgain", "dbias"]
    for name, got, want, scale in zip(names, ours, wants, scales, strict=True):
        assert got.dtype == dtype
        oracle.assert_close(name, got, oracle.Checked(want.numpy(), scale), TOLERANCE[dtype])


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((4, 3, 5), "float64"), ((5,), "float32"), ((1, 5), "bfloat16"), ((4, 1, 5), "float16")],
    indirect=["dtype"],
)
@pytest.mark.quick("float64", "bfloat16")
def test_inference_against_torch(oracle, shape, dtype):
    rng = np.random.default_rng(0)
    wide = "float64" if dtype == "float64" else "float32"
    x = jnp.asarray(rng.normal(1, 1, shape), dtype)
    gain, bias = jnp.asarray(rng.normal(1, 1, (2, 5)), dtype)
    mean = jnp.asarray(rng.normal(1, 1, 5), wide)
    var = jnp.asarray(rng.uniform(0.1, 2, 5), wide)
    y = inference(x, gain, bias, mean, var, eps=0.1)
    assert y.dtype == dtype

    x, mean, var, gain, bias = [np.asarray(a, np.float64) for a in (x, mean, var, gain, bias)]
    tensors = [oracle.torch.tensor(a) for a in (x.reshape(-1, 5), mean, var, gain, bias)]
    want = oracle.torch.nn.functional.batch_norm(*tensors, eps=0.1).reshape(shape).numpy()
    scale = abs(gain) * (abs(x) + abs(mean)) * (var + 0.1) ** -0.5 + abs(bias)
    oracle.assert_close("y", y, oracle.Checked(want, scale), TOLERANCE[dtype])


@pytest.mark.parametrize("offset", [1.0, 1e4])
@pytest.mark.parametrize("dtype", TOLERANCE, indirect=True)
@pytest.mark.quick("float32-10000.0", "bfloat16-1.0")
def test_statistics_are_exact_and_lead_back_to_the_output(dtype, offset):
    """Also far from zero, where E[x²] − E[x]² and a 16-bit mean lose all digits."""
    rng = np.random.default_rng(0)
    # 16-bit numbers near 1e4 are up to 64 apart, so use a larger spread.
    std = 1.0 if dtype in ("float32", "float64") else 0.5 * offset
    x = jnp.asarray(rng.normal(offset, std, (4096, 3)), dtype)
    gain, bias = jnp.asarray(rng.normal(size=(2, 3)), dtype)
    y, res = forward(x, gain, bias)
    exact = np.asarray(x, np.float64)
    assert res.mean.dtype == res.var.dtype == ("float64" if dtype == "float64" else "float32")
    np.testing.assert_allclose(res.mean, exact.mean(0), rtol=1e-5)
    np.testing.assert_allclose(res.var, exact.var(0, ddof=1), rtol=1e-4)

    y_inference = inference(x, gain, bias, res.mean, res.var)
    ours, want = [np.asarray(a, np.float64) for a in (y_inference, y)]
    np.testing.assert_allclose(ours, want, rtol=0, atol=TOLERANCE[dtype] * abs(want).max())


@pytest.mark.parametrize("shape", [(4, 5), (4, 3, 5), (4, 2, 3, 5)])
@pytest.mark.usefixtures("x64")
def test_counts_stand_for_equal_examples(shape):
    rng = np.random.default_rng(0)
    x, counts = rng.normal(1, 2, shape), np.array([3, 1, 0, 7])
    mean, var = batch_norm_statistics(jnp.array(x), jnp.array(counts, "float32"))
    rows = np.repeat(x, counts, axis=0).reshape(-1, 5)
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(var, rows.var(0, ddof=1), rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_dx_sums_to_zero_over_the_batch():
    """So a bias added to x (the notebooks' b1) has gradient zero by identity."""
    rng = np.random.default_rng(0)
    x, dy = jnp.asarray(rng.normal(size=(2, 7, 3, 5)))
    gain, bias = jnp.asarray(rng.normal(size=(2, 5)))
    _, res = forward(x, gain, bias)
    dx = np.asarray(backward(res, dy)[0])
    assert (abs(dx.sum((0, 1))) <= 1e-12 * abs(dx).sum((0, 1))).all()


@pytest.mark.parametrize(
    "function", [batch_norm, batch_norm_fwd, batch_norm_bwd, batch_norm_inference]
)
def test_default_eps_is_that_of_torch_and_the_seeds(function):
    assert signature(function).parameters["eps"].default == 1e-5


@pytest.mark.parametrize("shape", [(5,), (1, 5), (1, 1, 5)])
@pytest.mark.parametrize("function", [batch_norm, batch_norm_fwd])
def test_one_row_has_no_variance(function, shape):
    with pytest.raises(ValueError, match="at least two rows for a variance, got x of"):
        function(jnp.ones(shape), jnp.ones(5), jnp.ones(5))
