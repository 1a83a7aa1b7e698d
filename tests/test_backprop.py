"""`trace`: the value and cotangent of every layer and parameter of a model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore import loss_and_grad, stepwise, trace
from jaxmore.layers import Chain, Tree, Windows, by_path
from jaxmore.models import bengio, mlp_bn

pytestmark = pytest.mark.usefixtures("strict_promotion", "x64")

V, E, T, H, B = 5, 3, 2, 7, 4

# The paths of mlp_bn with the notebooks' names.
SEED_NAMES = {
    "embedding": "emb",
    "embedding.weight": "C",
    "flatten": "embcat",
    "hidden": "hprebn",
    "hidden.weight": "W1",
    "hidden.bias": "b1",
    "norm": "hpreact",
    "norm.gain": "bngain",
    "norm.bias": "bnbias",
    "act": "h",
    "head": "logits",
    "head.weight": "W2",
    "head.bias": "b2",
}


def generic(model: Chain, seed: int = 0) -> Tree:
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.array(rng.normal(0.1, 0.6, leaf.shape)), shapes)


def ids(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.array(np.random.default_rng(seed).integers(0, V, shape), "int32")


@pytest.mark.parametrize("hidden_bias", [True, False])
@pytest.mark.quick("True")
def test_trace_equals_stepwise(hidden_bias):
    model = mlp_bn(V, block_size=T, n_embd=E, n_embd2=H, hidden_bias=hidden_bias)
    params, x, y = generic(model), ids(B, T), ids(B, seed=1)
    names = {k: v for k, v in SEED_NAMES.items() if hidden_bias or v != "b1"}
    places = trace(model, params, x, y)
    assert places.keys() == names.keys() | {"loss"}

    leaves = by_path(params)
    seed_params = stepwise.Parameters(
        C=leaves["embedding.weight"],
        W1=leaves["hidden.weight"],
        b1=leaves.get("hidden.bias"),
        W2=leaves["head.weight"],
        b2=leaves["head.bias"],
        bngain=leaves["norm.gain"][None],  # the seeds' are (1, H)
        bnbias=leaves["norm.bias"][None],
    )
    values = stepwise.forward(seed_params, x, y)
    cotangents = stepwise.backward(seed_params, x, y, values)
    np.testing.assert_allclose(places["loss"][0], values.loss, rtol=1e-14)
    assert places["loss"][1] == 1
    for path, name in names.items():
        value, cotangent = places[path]
        assert value.shape == cotangent.shape
        expected = np.asarray(getattr(values if hasattr(values, name) else seed_params, name))
        dexpected = np.asarray(getattr(cotangents, name))
        scale, dscale = np.abs(expected).max(), np.abs(dexpected).max()
        if name == "b1":  # zero by identity: the scale is that of the terms of its sum
            dscale = np.abs(cotangents.hprebn).sum(0).max()
        expected, dexpected = expected.reshape(value.shape), dexpected.reshape(value.shape)
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-14 * scale, err_msg=path)
        # 1e-12, because BatchNorm cancels most of dhprebn.
        np.testing.assert_allclose(cotangent, dexpected, rtol=0, atol=1e-12 * dscale, err_msg=path)


@pytest.mark.parametrize("make", [bengio, mlp_bn])
@pytest.mark.slow
def test_trace_equals_fwd_and_loss_and_grad(make):
    model = make(V, block_size=T, n_embd=E, n_embd2=H)
    params, x, y = generic(model), ids(B, T), ids(B, seed=1)
    places = trace(model, params, x, y)
    loss, grads = jax.jit(loss_and_grad, static_argnums=0)(model, params, x, y)
    assert places.keys() == {name for name, _ in model.layers} | by_path(params).keys() | {"loss"}
    np.testing.assert_allclose(places["loss"][0], loss, rtol=1e-15)
    np.testing.assert_allclose(places["head"][0], model.fwd(params, x)[0], rtol=1e-13)
    for path, grad in by_path(grads).items():
        np.testing.assert_array_equal(places[path][0], by_path(params)[path])
        scale = max(np.abs(grad).max(), 1e-3)  # b1 is rounding alone
        np.testing.assert_allclose(places[path][1], grad, rtol=0, atol=1e-14 * scale, err_msg=path)


def test_nested_chains_have_nested_paths():
    """Layers that return ids have no cotangent and are left out."""
    inner = bengio(V, block_size=T, n_embd=E, n_embd2=H)
    model = Chain(windows=Windows(T), body=Chain(model=inner))
    params, x, y = generic(model), ids(B, 6), ids(B, 6, seed=1)
    places = trace(model, params, x, y)
    within = {
        *("embedding", "embedding.weight", "flatten", "hidden", "hidden.weight", "hidden.bias"),
        *("act", "head", "head.weight", "head.bias"),
    }
    assert places.keys() == {"loss", "body", "body.model"} | {f"body.model.{p}" for p in within}
    # The path of a chain holds the value of its last layer.
    for path in ("body", "body.model"):
        for ours, last in zip(places[path], places["body.model.head"], strict=True):
            np.testing.assert_array_equal(ours, last)
    # The inner model alone, on the windows.
    contexts = Windows(T).fwd({}, x)[0]
    for path, (value, cotangent) in trace(inner, params["body"]["model"], contexts, y).items():
        nested = places[path if path == "loss" else f"body.model.{path}"]
        np.testing.assert_allclose(nested[0], value, rtol=1e-13, err_msg=path)
        scale = np.abs(cotangent).max()
        assert scale > 0
        np.testing.assert_allclose(nested[1], cotangent, rtol=0, atol=1e-14 * scale, err_msg=path)


def test_trace_is_one_compiled_call():
    before = trace._cache_size()
    for seed in range(3):
        model = bengio(V, block_size=T, n_embd=E, n_embd2=H + 2)  # equal, built anew each time
        trace(model, generic(model, seed), ids(B, T, seed=seed), ids(B, seed=seed))
    assert trace._cache_size() == before + 1
