"""Attention and the GRU: their cotangents against PyTorch, JAX, differences, and the layers."""

from inspect import unwrap
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.backprop import loss_and_grad
from jaxmore.layers import (
    Add,
    CausalSelfAttention,
    Chain,
    Embedding,
    LayerNorm,
    PositionEmbedding,
    Residual,
    fan_in_linear,
)
from jaxmore.models import gru as gru_model
from jaxmore.ninja import attention, gru
from jaxmore.ninja.comparison import autodiff
from jaxmore.prove import prove_lines
from jaxmore.testing.oracles.autodiff import loss_of_offsets
from jaxmore.testing.oracles.condition import intermediate_scales
from tests.tolerance import TOLERANCE

pytestmark = pytest.mark.usefixtures("strict_promotion")

NETWORKS = {"attention": attention, "gru": gru}
SIZES = {"attention": {"T": 4, "E": 6, "V": 7}, "gru": {"T": 3, "E": 4, "H": 5, "G": 9, "V": 7}}
SHAPES = {
    "attention": ["VE", "TE", "E", "E", "EE", "EE", "EE", "EE", "EV"],
    "gru": ["VE", "H", *["GH", "H"] * 3, "HV", "V"],
}
each = pytest.mark.parametrize("name", NETWORKS)


def draw(name: str, dtype: str = "float64") -> tuple[Any, jax.Array, jax.Array]:
    """Generic parameters of std ½ in odd sizes, and names in which a character comes back."""
    rng, sizes = np.random.default_rng(0), SIZES[name]
    params = [0.5 * rng.normal(size=[sizes[letter] for letter in shape]) for shape in SHAPES[name]]
    X, Y = rng.integers(0, sizes["V"], (2, 3, sizes["T"]))
    X[-1, -1] = X[0, 0]
    params = [jnp.array(p.astype("float32"), dtype) for p in params]
    return NETWORKS[name].Parameters(*params), jnp.array(X), jnp.array(Y)


@each
@pytest.mark.quick("float64")
def test_values_and_cotangents_are_those_of_pytorch(name, oracle, dtype, tolerance):
    from reference import exercises

    params, X, Y = draw(name, dtype)
    values = NETWORKS[name].forward(params, X, Y)
    d = NETWORKS[name].backward(params, X, Y, values)
    right_values, right = oracle.network(params._asdict(), X, Y, getattr(exercises, name))
    assert values._asdict().keys() == right_values.keys()
    assert d._asdict().keys() == right.keys() - {"loss"}
    for ours, theirs in (values, right_values), (d, right):
        for variable, value in ours._asdict().items():
            assert value.dtype == dtype
            oracle.assert_close(variable, value, theirs[variable], tolerance)


@pytest.mark.slow
@each
def test_cotangents_are_those_of_autodiff_and_of_differences(name, x64):
    network = NETWORKS[name]
    params, X, Y = draw(name)
    d = network.backward(params, X, Y, network.forward(params, X, Y))._asdict()
    right = _by_name(*autodiff(network.forward)(params, X, Y))
    scales = _by_name(*intermediate_scales(network.forward, params, X, Y))
    loss, zeros = loss_of_offsets(network.forward, params, X, Y)
    loss = jax.jit(loss)
    rng = np.random.default_rng(1)
    for variable, ours in d.items():
        off = np.abs(ours - right[variable])
        assert (off <= TOLERANCE["float64"] * scales[variable]).all(), variable
        which = 0 if variable in params._fields else 1
        at = (params, zeros)[which]
        direction = 1e-6 * rng.normal(size=ours.shape)

        def moved(by, which=which, at=at, variable=variable):
            there = at._replace(**{variable: getattr(at, variable) + by})
            return float(loss(*((there, zeros) if which == 0 else (params, there))))

        difference = (moved(direction) - moved(-direction)) / 2
        expected = float((ours * direction).sum())
        size = float((np.abs(ours) * np.abs(direction)).sum())
        assert difference == pytest.approx(expected, rel=0, abs=1e-6 * size + 1e-15), variable


def _by_name(of_parameters: Any, of_intermediates: Any) -> dict[str, Any]:
    return of_parameters._asdict() | of_intermediates._asdict()


@pytest.mark.slow
def test_cotangents_of_attention_are_proved_without_a_tolerance():
    """Not those of the GRU: the prover takes exponentials of exponentials, but not seven deep."""
    with jax.enable_x64(True):
        params, X, Y = jax.device_get(draw("attention"))

    def forward(*arrays: Any) -> Any:
        return unwrap(attention.forward)(attention.Parameters(*arrays), X, Y)

    def backward(arrays: Any, values: Any) -> Any:
        return unwrap(attention.backward)(attention.Parameters(*arrays), X, Y, values)

    proofs = prove_lines(forward, backward, params._asdict())
    assert len(proofs) == len(attention.Cotangents._fields)
    assert all(proof.passed for proof in proofs)


@pytest.mark.slow
def test_attention_is_the_transformers(x64):
    """One block without its MLP, by the layers and their rules."""
    params, X, Y = draw("attention")
    p = params._asdict()
    sizes = SIZES["attention"]
    E, T, V = sizes["E"], sizes["T"], sizes["V"]
    model = Chain(
        embedding=Add(token=Embedding(V, E), position=PositionEmbedding(T, E)),
        block=Residual(
            norm=LayerNorm(E),
            qkv=fan_in_linear(E, 3 * E, bias=False),
            heads=CausalSelfAttention(E, 2, T),
            proj=fan_in_linear(E, E, bias=False),
        ),
        head=fan_in_linear(E, V, bias=False),
    )

    def tree(p: dict[str, Any]) -> dict[str, Any]:
        return {
            "embedding": {"token": {"weight": p["C"]}, "position": {"weight": p["P"]}},
            "block": {
                "norm": {"gain": p["gain"], "bias": p["bias"]},
                "qkv": {"weight": jnp.concatenate([p["Wq"], p["Wk"], p["Wv"]], 1)},
                "heads": {},
                "proj": {"weight": p["Wo"]},
            },
            "head": {"weight": p["Wout"]},
        }

    values = attention.forward(params, X, Y)
    d = attention.backward(params, X, Y, values)
    _assert_gradients(model, tree(p), X, Y, values.loss, tree(d._asdict()))


@pytest.mark.slow
def test_gru_is_the_layers(x64):
    """makemore's GRU at three steps, by ScanTime and the rule of the cell."""
    params, X, Y = draw("gru")
    sizes = SIZES["gru"]

    def tree(p: dict[str, Any]) -> dict[str, Any]:
        return {
            "embedding": {"weight": p["C"]},
            "hidden": {
                "start": p["start"][None],
                "cell": {
                    "update": {"weight": p["Wz"], "bias": p["bz"]},
                    "reset": {"weight": p["Wr"], "bias": p["br"]},
                    "candidate": {"weight": p["Wh"], "bias": p["bh"]},
                },
            },
            "head": {"weight": p["Wout"], "bias": p["bout"]},
        }

    values = gru.forward(params, X, Y)
    d = gru.backward(params, X, Y, values)
    model = gru_model(sizes["V"], n_embd=sizes["E"], n_embd2=sizes["H"])
    _assert_gradients(model, tree(params._asdict()), X, Y, values.loss, tree(d._asdict()))


def _assert_gradients(model: Chain, params: Any, X: Any, Y: Any, loss: Any, grads: Any) -> None:
    right_loss, right = loss_and_grad(model, params, X, Y)
    np.testing.assert_allclose(loss, right_loss, rtol=1e-14)
    assert jax.tree.structure(right) == jax.tree.structure(grads)
    for ours, theirs in zip(jax.tree.leaves(grads), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12 * np.abs(theirs).max())
