"""check_layer and check_model pass right layers and models, and name a mistake by its path."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore import rules
from jaxmore.errors import InputError
from jaxmore.layers import BatchNorm, Chain, Embedding, Flatten, Layer, Linear, Normal, Tanh
from jaxmore.models import MODELS
from jaxmore.testing import (
    RuleError,
    check_layer,
    check_model,
    check_shipped_models,
    shipped,
)

X = np.random.default_rng(0).normal(size=(5, 3))
IDS = np.array([[1, 2, 2], [0, 1, 2], [3, 3, 0], [2, 1, 1], [4, 0, 2]])
TARGETS = np.array([1, -1, 3, 3, 0])


@pytest.mark.slow
def test_a_shipped_model_passes_every_check():
    (report,) = check_shipped_models(["bengio"], dtypes=["float32", "bfloat16"])
    assert report.passed, report
    assert report.name == "bengio"
    assert set(report.rows[0].narrow) == {"float32", "bfloat16"}
    assert "modes within" in str(report)


@pytest.mark.slow
@pytest.mark.parametrize("type", MODELS)
@pytest.mark.quick("bigram")
def test_every_gradient_of_a_shipped_model_is_right(type: str, monkeypatch: pytest.MonkeyPatch):
    # One block: tests/models stacks several, and what is compiled here grows with each.
    monkeypatch.setitem(shipped.SMALL, "n_layer", 1)
    (report,) = check_shipped_models([type], dtypes=(), modes=False)
    assert report.passed, report
    assert report.name == type
    assert report.trajectory < 1e-12
    assert "losses within" in str(report)
    assert report.as_dict()["trajectory"] == report.trajectory


def test_no_such_model():
    with pytest.raises(InputError, match="no model 'gpt'; there are "):
        check_shipped_models(["gpt"])


@pytest.mark.slow
def test_a_layer_passes():
    report = check_layer(BatchNorm(3), X, dtypes=(), modes=False)
    assert [row.argument for row in report.rows] == ["bias", "gain", "x"]
    report = check_layer(Embedding(5, 2), IDS, dtypes=(), modes=False)
    assert [row.argument for row in report.rows] == ["weight"]


# Planted mistakes --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Skip(Layer):
    """A layer y = x + tanh(x w) with a given mistake."""

    mistake: str = ""

    def init(self, key):
        return {"w": jax.random.normal(key, (3, 3))}

    def fwd(self, params, x, key=None):
        h, _ = rules.linear_fwd(x, params["w"])
        y = jnp.tanh(h)
        return x + y, (x, h if self.mistake == "stale residual" else y)

    def bwd(self, params, res, dy):
        x, y = res
        (dh,) = rules.tanh_bwd(y, dy)
        w = params["w"].T if self.mistake == "transposed weight" else params["w"]
        dx, dw, _ = rules.linear_bwd((x, w), dh)
        if self.mistake == "dropped parameter":
            return {}, dx + dy
        return {"w": dw}, dx if self.mistake == "dropped skip path" else dx + dy


@pytest.mark.slow
def test_a_right_skip_passes():
    assert check_layer(Skip(), X, dtypes=(), modes=False).passed


@pytest.mark.parametrize(
    ("mistake", "argument", "cause"),
    [
        ("dropped skip path", "x", "dy itself is missing from the sum (a skip path?)"),
        ("stale residual", "w", None),
        ("transposed weight", "x", None),
        ("dropped parameter", None, None),
    ],
)
def test_a_mistake_in_a_layer_is_named(mistake: str, argument: str | None, cause: str | None):
    with pytest.raises(RuleError) as error:
        check_layer(Skip(mistake), X)
    found = error.value.report.problems[0]
    assert (found.argument, found.cause) == (argument, cause)


@dataclass(frozen=True)
class Wrong(Layer):
    """Scale one gradient of a layer by 1.001."""

    layer: Layer
    path: str

    def init(self, key):
        return self.layer.init(key)

    def fwd(self, params, x, key=None):
        return self.layer.fwd(params, x, key)

    def bwd(self, params, res, dy):
        dparams, dx = self.layer.bwd(params, res, dy)
        if self.path == "dx":
            return dparams, dx * 1.001
        return dparams | {self.path: dparams[self.path] * 1.001}, dx


def network(**wrong: str) -> Chain:
    layers = {
        "embedding": Embedding(5, 2),
        "flatten": Flatten(3),
        "hidden": Linear(6, 4),
        "norm": BatchNorm(4, gain=Normal(0.1, mean=1.0)),
        "act": Tanh(),
        "head": Linear(4, 5),
    }
    return Chain(
        **{n: Wrong(layer, wrong[n]) if n in wrong else layer for n, layer in layers.items()}
    )


@pytest.mark.parametrize(
    ("layer", "path", "named"),
    [
        ("norm", "gain", ["norm.gain"]),
        ("flatten", "dx", ["embedding.weight"]),
        ("norm", "dx", ["embedding.weight", "hidden.weight"]),
    ],
)
@pytest.mark.slow
def test_a_mistake_in_a_model_is_named_by_path(layer: str, path: str, named: list[str]):
    with pytest.raises(RuleError) as error:
        check_model(network(**{layer: path}), IDS, TARGETS, dtypes=(), modes=False)
    problems = error.value.report.problems
    assert [problem.argument for problem in problems] == named
    assert all("1.001 times" in problem.cause for problem in problems)


@pytest.mark.slow
def test_a_gradient_of_zero_by_identity_is_no_alarm():
    """hidden.bias stands before BatchNorm."""
    report = check_model(network(), IDS, TARGETS, dtypes=(), modes=False, n_steps=5)
    row = next(row for row in report.rows if row.argument == "hidden.bias")
    assert row.autodiff < 1e-12
    with pytest.raises(RuleError, match=r"hidden\.bias: "):
        check_model(Chain(**dict(network().layers) | {"hidden": Leak(6, 4)}), IDS, TARGETS)


@dataclass(frozen=True)
class Leak(Linear):
    """The bias's gradient is not zero where it should be."""

    def bwd(self, params, res, dy):
        dparams, dx = super().bwd(params, res, dy)
        return dparams | {"bias": dparams["bias"] + 1e-9}, dx


@pytest.mark.slow
def test_training_is_compared_step_by_step(monkeypatch: pytest.MonkeyPatch):
    """A gradient that is right at the first step only."""
    from jaxmore.testing import model as home

    right = home.loss_and_grad

    def drifting(model, params, x, y):
        loss, grads = right(model, params, x, y)
        first = params["head"]["bias"][0] == start["head"]["bias"][0].astype(loss.dtype)
        return loss, jax.tree.map(lambda g: g * jnp.where(first, 1, 1.01).astype(g.dtype), grads)

    start = network().init(jax.random.key(3))
    monkeypatch.setattr(home, "loss_and_grad", drifting)
    with pytest.raises(RuleError, match="step 2 of training: loss"):
        check_model(network(), IDS, TARGETS, params=start, dtypes=(), modes=False, n_steps=4)
