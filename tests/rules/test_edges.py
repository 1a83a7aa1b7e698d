"""Edge cases of the rules: ties, tails, empty arrays, wide rows, width one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore import rules

pytestmark = pytest.mark.usefixtures("strict_promotion")

LINE = np.concatenate([np.linspace(-12, 12, 241), [0.0, 1e-3, -1e-3, 50, -50]])


@pytest.mark.parametrize("approximate", [True, False])
@pytest.mark.parametrize("dtype", ["float64", "float32"], indirect=True)
@pytest.mark.slow
def test_gelu_against_torch_along_a_line(oracle, tolerance, approximate, dtype):
    x = jnp.asarray(LINE, dtype)
    y, res = rules.gelu_fwd(x, approximate=approximate)
    (dx,) = rules.gelu_bwd(res, jnp.ones_like(x), approximate=approximate)
    leaf = oracle.torch.tensor(np.asarray(x, np.float64), requires_grad=True)
    form = "tanh" if approximate else "none"
    truth = oracle.torch.nn.functional.gelu(leaf, approximate=form)
    truth.sum().backward()
    np.testing.assert_allclose(y, truth.detach(), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(dx, leaf.grad, rtol=tolerance, atol=tolerance)


def test_the_two_gelus_differ():
    x = jnp.asarray(LINE, "float32")
    gap = abs(rules.gelu(x, approximate=True) - rules.gelu(x, approximate=False)).max()
    assert 4.6e-4 < gap < 4.8e-4
    with pytest.raises(TypeError, match="approximate"):
        rules.gelu(x)


@pytest.mark.parametrize("approximate", [True, False])
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"], indirect=True)
@pytest.mark.quick("float64")
def test_gelu_is_x_or_zero_far_out(approximate, dtype):
    big = float(jnp.finfo(dtype).max)
    x = jnp.asarray([big, -big, 100, -100], dtype)
    y, res = rules.gelu_fwd(x, approximate=approximate)
    (dx,) = rules.gelu_bwd(res, jnp.ones_like(x), approximate=approximate)
    np.testing.assert_array_equal(y, jnp.maximum(x, 0))
    np.testing.assert_array_equal(dx, (x > 0).astype(dtype))


def test_relu_at_zero_and_nan_as_torch(oracle):
    points = [-1.0, -0.0, 0.0, 2.0, float("nan")]
    y, res = rules.relu_fwd(jnp.array(points))
    (dx,) = rules.relu_bwd(res, jnp.full(5, 3.0))
    leaf = oracle.torch.tensor(points, requires_grad=True)
    truth = oracle.torch.relu(leaf)
    truth.backward(oracle.torch.full((5,), 3.0))
    np.testing.assert_array_equal(y, truth.detach())
    np.testing.assert_array_equal(dx, leaf.grad)
    np.testing.assert_array_equal(
        jax.jvp(rules.relu, [jnp.zeros(1)], [jnp.ones(1)])[1], jnp.zeros(1)
    )


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"], indirect=True)
@pytest.mark.quick("float16")
def test_sigmoid_saturates(dtype):
    y, res = rules.sigmoid_fwd(jnp.asarray([-1e4, 1e4], dtype))
    (dx,) = rules.sigmoid_bwd(res, jnp.ones_like(y))
    np.testing.assert_array_equal(y, jnp.asarray([0, 1], dtype))
    assert not dx.any()


@pytest.mark.parametrize("n_batch", [(), (3,)])
@pytest.mark.quick("n_batch1")
def test_layer_norm_of_one_feature_is_its_bias(n_batch):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(*n_batch, 1)), "float32")
    y, res = rules.layer_norm_fwd(x, jnp.full(1, 2.0), jnp.full(1, 3.0))
    dx, dgain, dbias = rules.layer_norm_bwd(res, jnp.ones_like(x))
    np.testing.assert_array_equal(y, jnp.full_like(x, 3))
    assert not dx.any()
    assert not dgain.any()
    assert dbias == x.size


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.quick("10000.0")
def test_layer_norm_of_constant_and_far_rows(offset):
    """Here a variance computed as E[x²] − E[x]² would lose all digits."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(offset + rng.normal(size=(3, 64)), "float32")
    x = x.at[0].set(offset)
    y, res = rules.layer_norm_fwd(x, jnp.ones(64), jnp.zeros(64))
    exact = np.asarray(x, np.float64)
    want = (exact - exact.mean(1, keepdims=True)) / np.sqrt(exact.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(y, want, atol=5e-3 if offset else 1e-5)
    assert all(jnp.isfinite(d).all() for d in rules.layer_norm_bwd(res, jnp.ones_like(x)))


def test_norms_of_zero_rows_are_finite():
    zeros, gain = jnp.zeros((2, 5)), jnp.ones(5)
    for name, params in [("layer_norm", (gain, gain)), ("rms_norm", (gain,))]:
        _, res = getattr(rules, f"{name}_fwd")(zeros, *params)
        cotangents = getattr(rules, f"{name}_bwd")(res, jnp.ones_like(zeros))
        assert all(jnp.isfinite(d).all() for d in cotangents)


@pytest.mark.usefixtures("x64")
def test_dx_of_layer_norm_and_softmax_sums_to_zero():
    rng = np.random.default_rng(0)
    x, dy = jnp.asarray(rng.normal(size=(2, 3, 7)))
    gain, bias = jnp.asarray(rng.normal(size=(2, 7)))
    _, res = rules.layer_norm_fwd(x, gain, bias)
    dxs = [rules.layer_norm_bwd(res, dy)[0], *rules.softmax_bwd(rules.softmax(x), dy)]
    for dx in dxs:
        assert (abs(dx.sum(-1)) <= 1e-14 * abs(dx).sum(-1)).all() or abs(dx.sum(-1)).max() < 1e-14


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"], indirect=True)
@pytest.mark.quick("float16")
def test_softmax_of_large_and_equal_scores(dtype):
    big = float(jnp.finfo(dtype).max) / 4
    x = jnp.asarray([[big, big], [-big, big], [-big, -big]], dtype)
    np.testing.assert_array_equal(
        rules.softmax(x), jnp.asarray([[0.5, 0.5], [0, 1], [0.5, 0.5]], dtype)
    )


def test_l2_penalty_of_an_empty_weight_is_zero():
    empty = jnp.zeros((0, 3))
    loss, res = rules.l2_penalty_fwd(empty, scale=0.1)
    (dweight,) = rules.l2_penalty_bwd(res, jnp.ones(()), scale=0.1)
    assert loss == 0
    assert dweight.shape == (0, 3)


@pytest.mark.parametrize("n", [0, -1, 2, 4])
def test_flatten_consecutive_needs_a_multiple(n):
    with pytest.raises(ValueError, match="multiple of n="):
        rules.flatten_consecutive(jnp.ones((2, 3, 5)), n=n)
