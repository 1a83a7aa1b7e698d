"""check_model and check_layer catch planted mistakes and name the parameters.

A mistake is one piece of source for another in a layer (or in a rule, where the layer only calls
it), and its code is put in the place of the right code. None changes what a forward pass returns:
that is what the checker holds a backward pass against.
"""

import inspect
import operator
import sys
from fnmatch import fnmatch
from types import ModuleType
from typing import NamedTuple

import jax
import numpy as np
import pytest

from jaxmore import layers, models, rules
from jaxmore.layers import Chain, Layer, Linear, Residual, by_path
from jaxmore.models._ngram import ngram
from jaxmore.testing import Report, RuleError, check_layer, check_model

V, T, E, H = 5, 4, 6, 3
IDS = np.array([[1, 2, 2], [0, 1, 4], [3, 3, 1], [2, 1, 4], [4, 0, 2]])
NEXT = np.where(IDS == 4, -1, np.roll(IDS, -1, axis=1))
X = np.random.default_rng(0).normal(size=(2, T, E))

SUBJECTS: dict[str, Layer] = {
    "ngram": ngram(V, 2),
    "bow": models.bow(V, block_size=T, n_embd=2, n_embd2=H),
    "lstm": models.lstm(V, n_embd=2, n_embd2=H),
    "level": Chain(  # of wavenet
        pairs=layers.FlattenConsecutive(2), hidden=Linear(2 * E, H), norm=layers.BatchNorm(H)
    ),
    "attention": Residual(
        norm=layers.LayerNorm(E),
        qkv=Linear(E, 3 * E),
        heads=layers.CausalSelfAttention(E, 3, T),
        act=layers.Gelu(approximate=True),
        proj=Linear(E, E),
    ),
    "chain": Chain(a=Linear(E, E), b=Linear(E, E)),
}
MODELS = ("ngram", "bow", "lstm")  # the others are layers


class Planted(NamedTuple):
    subject: str
    """A key of SUBJECTS."""
    function: str
    """The full name of the function in jaxmore.layers or jaxmore.rules."""
    right: str
    wrong: str
    named: str
    """Every wrong cotangent in the report, and no other: paths, with * for any part."""
    cause: str | None = None
    """Part of the cause in the report; None where the report must give none."""


P = Planted
PLANTED = [
    # through time
    P("lstm", "ScanTime.bwd", "(dh + dy_t, *others)", "(dy_t, *others)",
      "embedding.* hidden.*"),
    P("lstm", "ScanTime.bwd", "jnp.moveaxis(dy, -2, 0), res",
      "jnp.moveaxis(dy.at[:, 0].set(0), -2, 0), res", "embedding.* hidden.*"),
    P("lstm", "ScanTime.bwd", "a + widen(b)", "widen(b)", "hidden.cell.*"),
    P("lstm", "LstmCell.fwd", "_concat(x, h)", "_concat(x, states[0])", "hidden.cell.weight"),
    P("lstm", "ScanTime.bwd", '"start": dstart', '"start": 0 * dstart', "hidden.start",
      "zero everywhere"),
    P("lstm", "ScanTime.bwd", "return (dstate, ", "return ((dstate[0], *others), ",
      "embedding.* hidden.*"),
    P("lstm", "LstmCell.bwd", "(dh, dc)", "(dc, dh)", "embedding.* hidden.*"),
    # attention
    P("attention", "CausalSelfAttention.bwd", "rules.causal_attention_bwd(res, do)",
      "(lambda dq, *dkv: (dq * 2**0.5, *dkv))(*rules.causal_attention_bwd(res, do))",
      "norm.* qkv.* x"),
    P("attention", "CausalSelfAttention.bwd", "rules.causal_attention_bwd(res, do)",
      "(lambda dq, dk, dv: (dq, dv, dk))(*rules.causal_attention_bwd(res, do))", "norm.* qkv.* x"),
    P("attention", "CausalSelfAttention.bwd", "self.n_head, -1).swapaxes(-2, -3)",
      "-1, self.n_head).swapaxes(-1, -2).swapaxes(-2, -3)", "norm.* qkv.* x"),
    # a way around, and side by side
    P("attention", "Residual.bwd", "cast(Array, dy) + ", "", "x", "dy itself is missing"),
    P("bow", "Residual.bwd", "cast(Array, dy) + ", "", "embedding.*"),
    P("bow", "Add.bwd", "res[name], dy)", "res[name], 0 * dy if dparams else dy)",
      "embedding.position.weight", "zero everywhere"),
    # one after the other
    P("chain", "Chain.bwd", "kept = res[name]", 'kept = res["b"]', "a.weight"),
    P("attention", "Chain.bwd", "self.layers[i - 1]", "self.layers[0]", "norm.* qkv.* x"),
    P("attention", "CausalSelfAttention.recompute", "self._merge(res.o)", "self._merge(res.v)",
      "norm.* qkv.* x"),
    P("attention", "LayerNorm.bwd", 'gain=params["gain"])', 'gain=1 + 0 * params["gain"])', "x"),
    # contexts and tables
    P("ngram", "embedding_bwd", ".add(", ".set(", "logits.weight"),
    P("ngram", "Embedding.fwd", "return y, ids", "return y, jnp.roll(ids, 1, axis=-1)",
      "logits.weight"),
    P("bow", "PositionEmbedding.bwd", '"weight": dweight', '"weight": dweight.at[2].set(0)',
      "embedding.position.weight", "row 2 is lost"),
    P("bow", "PositionEmbedding.bwd", "widen(dy).sum(", "widen(dy).mean(",
      "embedding.position.weight", "1/5, a mean in place of a sum"),
    P("bow", "CausalMean.bwd", "rules.causal_mean_bwd(res, dy)",
      "rules.causal_mean_bwd(res, dy[:, ::-1])", "embedding.*"),
    P("level", "FlattenConsecutive.bwd", "dy.reshape(*batch, n_rows // self.n, dy.shape[-1])",
      "dy.reshape(*batch, dy.shape[-1], n_rows // self.n).swapaxes(-1, -2)", "x"),
    P("level", "BatchNorm.bwd", "residuals, dy, eps=self.eps)",
      "residuals, dy, eps=self.eps); dx = dx - dx.mean(0)", "hidden.weight x"),
    P("level", "BatchNorm.bwd", '"gain": dgain', '"gain": dgain / dy[0, ..., 0].size',
      "norm.gain", "half"),
    P("bow", "Linear.bwd", '"bias": dbias', '"bias": dy.sum(0)', "*.bias", "sum over axis 0"),
]  # fmt: skip


def plant(mistake: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the right code by the mistake in the function itself."""
    cls, _, method = mistake.function.rpartition(".")
    thing = getattr(layers, cls) if cls else rules
    right = inspect.unwrap(getattr(thing, method))
    source, home = inspect.getsource(right), sys.modules[right.__module__]
    assert mistake.right in source, f"{mistake.function} has no {mistake.right!r} any more"
    module = ModuleType(home.__name__)
    whole = inspect.getsource(home)
    wrong = whole.replace(source, source.replace(mistake.right, mistake.wrong))
    exec(compile(wrong, home.__file__ or "", "exec"), module.__dict__)
    found = operator.attrgetter(mistake.function)(module)
    monkeypatch.setattr(right, "__code__", found.__code__)


def examine(subject: str) -> Report:
    layer = SUBJECTS[subject]
    if subject not in MODELS:
        return check_layer(layer, X, dtypes=(), modes=False)
    return check_model(layer, IDS, NEXT, dtypes=(), modes=False, n_steps=1)


def test_there_are_enough_of_them():
    assert len(PLANTED) >= 25
    assert len({mistake[:4] for mistake in PLANTED}) == len(PLANTED)


@pytest.mark.parametrize("mistake", PLANTED, ids=lambda m: f"{m.subject}: {m.right} -> {m.wrong}")
@pytest.mark.slow
def test_a_planted_mistake_is_caught(mistake: Planted, monkeypatch: pytest.MonkeyPatch):
    plant(mistake, monkeypatch)
    with pytest.raises(RuleError) as error:
        examine(mistake.subject)
    problems = error.value.report.problems
    layer = SUBJECTS[mistake.subject]
    names = [*by_path(jax.eval_shape(layer.init, jax.random.key(0))), "x"]
    wrong = [n for n in names if any(fnmatch(n, path) for path in mistake.named.split())]
    assert [problem.argument for problem in problems] == wrong
    for problem in problems:
        assert problem.index is not None or problem.check == "structure"
        if mistake.cause is None:
            assert problem.cause is None
        else:
            assert mistake.cause in (problem.cause or "")
