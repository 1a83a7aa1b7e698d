"""Checks that kill mutants of layers: the definition, its autograd, and the contract."""

from collections.abc import Callable, Iterator
from functools import cache, partial
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

from jaxmore import layers
from tests.mutants import definitions as by_definition
from tests.mutants.oracle import autograd, python_loops, refuses, same, same_values

Check = Callable[[ModuleType], None]
V, E, T, B = 5, 6, 4, 3


class Case(NamedTuple):
    """A layer built from a module, and its definition."""

    make: Callable[[Any], Any]
    definition: Callable[[Any, Any], Any]
    """A function of the parameters and x, in PyTorch."""
    x: tuple[int, ...] | str = (B, T, E)
    """The shape, or "ids" of shape (B, T)."""
    by_step: bool = True
    """Whether ``step`` gives the same output token by token."""


def _linear(p, x):
    return by_definition.linear(x, p["weight"], p.get("bias"))


def _heads(p, x):
    q, k, v = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in x.chunk(3, -1))
    return by_definition.causal_attention(q, k, v).transpose(1, 2).flatten(2)


def _windows(ids, n, blank):
    padded = torch.nn.functional.pad(ids, (n - 1, 0), value=blank)
    return padded.unfold(1, n, 1)


def _scan(cell, p, x):
    state = tuple(row.expand(len(x), -1) for row in p["start"])
    ys = []
    for t in range(x.shape[1]):
        state = cell(p["cell"], x[:, t], state)
        ys.append(state[0])
    return torch.stack(ys, 1)


def _gru(p, x, state):
    arrays = [p[gate][a] for gate in ("update", "reset", "candidate") for a in ("weight", "bias")]
    return (by_definition.gru_cell(x, *state, *arrays),)


def _rnn(p, x, state):
    return (by_definition.rnn_cell(x, *state, p["weight"], p["bias"]),)


def _lstm(p, x, state):
    return by_definition.lstm_cell(x, *state, p["weight"], p["bias"])


L = layers
CASES: dict[str, list[Case]] = {
    "combinators": [
        Case(
            lambda m: m.Chain(a=L.Linear(E, 5), b=L.Tanh(), c=L.Linear(5, 3)),
            lambda p, x: _linear(p["c"], torch.tanh(_linear(p["a"], x))),
        ),
        Case(
            lambda m: m.Chain(
                a=L.LayerNorm(E), b=L.Linear(E, 5), c=L.Gelu(approximate=False), d=L.Linear(5, 3)
            ),
            lambda p, x: _recomputing(p, x),
        ),
        Case(
            lambda m: m.Residual(a=L.Linear(E, 5), b=L.Linear(5, E)),
            lambda p, x: x + _linear(p["b"], _linear(p["a"], x)),
        ),
        Case(
            lambda m: m.Add(a=L.Linear(E, 5), b=m.Chain(c=L.Tanh(), d=L.Linear(E, 5))),
            lambda p, x: _linear(p["a"], x) + _linear(p["b"]["d"], torch.tanh(x)),
        ),
        Case(
            lambda m: m.Chain(
                embedding=m.Add(a=L.Embedding(V, E), b=L.PositionEmbedding(T, E)),
                bag=m.Residual(mean=L.CausalMean(E), norm=L.LayerNorm(E)),
            ),
            lambda p, x: _residual_mean(p, x),
            "ids",
        ),
        Case(
            lambda m: m.Chain(norm=L.BatchNorm(E), bag=m.Add(a=L.CausalMean(E), b=L.BatchNorm(E))),
            lambda p, x: _norms(p, by_definition.batch_norm(x, *_gain_and_bias(p["norm"]))),
        ),
        Case(
            lambda m: m.Residual(norm=L.BatchNorm(E)),
            lambda p, x: x + by_definition.batch_norm(x, *_gain_and_bias(p["norm"])),
        ),
    ],
    "contexts": [
        Case(lambda m: m.Flatten(T), lambda p, x: x.flatten(-2), by_step=False),
        Case(lambda m: m.FlattenConsecutive(2), lambda p, x: x.reshape(B, 2, 2 * E), by_step=False),
        Case(lambda m: m.FlattenConsecutive(T), lambda p, x: x.flatten(-2), by_step=False),
    ],
    "elementwise": [
        Case(lambda m: m.Tanh(), lambda p, x: torch.tanh(x)),
        Case(lambda m: m.Relu(), lambda p, x: torch.relu(x)),
        Case(
            lambda m: m.Gelu(approximate=True),
            lambda p, x: by_definition.gelu(x, approximate=True),
        ),
        Case(lambda m: m.Gelu(approximate=False), lambda p, x: torch.nn.functional.gelu(x)),
        Case(lambda m: m.Dropout(0.3), lambda p, x: x),
    ],
    "embedding": [
        Case(lambda m: m.Embedding(V, E), lambda p, x: p["weight"][x], "ids"),
        Case(
            lambda m: m.PositionEmbedding(T, E),
            lambda p, x: p["weight"].expand(*x.shape, E),
            "ids",
        ),
    ],
    "linear": [
        Case(lambda m: m.Linear(E, 5), _linear),
        Case(lambda m: m.Linear(E, 5, bias=None), _linear),
    ],
    "mixing": [
        Case(lambda m: m.CausalMean(E), lambda p, x: by_definition.causal_mean(x)),
        Case(lambda m: m.CausalSelfAttention(E, 2, T), _heads, (B, T, 3 * E)),
    ],
    "norms": [
        Case(lambda m: m.RmsNorm(), lambda p, x: by_definition.rms_norm(x)),
        Case(lambda m: m.RmsNorm(eps=0.1), lambda p, x: by_definition.rms_norm(x, eps=0.1)),
        Case(
            lambda m: m.BatchNorm(E, eps=0.1),
            lambda p, x: by_definition.batch_norm(x, p["gain"], p["bias"], eps=0.1),
        ),
        Case(
            lambda m: m.BatchNorm(E),
            lambda p, x: by_definition.batch_norm(x, *_gain_and_bias(p)),
        ),
        Case(
            lambda m: m.LayerNorm(E, eps=0.1),
            lambda p, x: by_definition.layer_norm(x, p["gain"], p["bias"], eps=0.1),
        ),
        Case(
            lambda m: m.LayerNorm(E),
            lambda p, x: by_definition.layer_norm(x, *_gain_and_bias(p)),
        ),
    ],
    "recurrent": [
        Case(lambda m: m.ScanTime(m.RnnCell(E, 5)), partial(_scan, _rnn)),
        Case(lambda m: m.ScanTime(m.GruCell(E, 5)), partial(_scan, _gru)),
        Case(lambda m: m.ScanTime(m.LstmCell(E, 5)), partial(_scan, _lstm)),
    ],
}  # fmt: skip


def _gain_and_bias(p):
    return p["gain"], p["bias"]


def _recomputing(p, x):
    x = _linear(p["b"], by_definition.layer_norm(x, *_gain_and_bias(p["a"])))
    return _linear(p["d"], torch.nn.functional.gelu(x))


def _residual_mean(p, ids):
    x = p["embedding"]["a"]["weight"][ids] + p["embedding"]["b"]["weight"]
    return x + by_definition.layer_norm(
        by_definition.causal_mean(x), *_gain_and_bias(p["bag"]["norm"])
    )


def _norms(p, x):
    mean = by_definition.causal_mean(x)
    return mean + by_definition.batch_norm(x, *_gain_and_bias(p["bag"]["b"]))


def checks_of(module: ModuleType) -> Iterator[Check]:
    """Yield the checks of the layers that a module defines."""
    name = module.__name__.rpartition(".")[2]
    for i in range(len(CASES.get(name, []))):
        yield partial(_right, name, i)
    for i in range(len(CASES.get(name, []))):
        yield partial(_narrow, name, i)
        yield partial(_leading, name, i)
    yield from OTHERS.get(name, [])


class Expected(NamedTuple):
    params: Any
    x: Any
    value: np.ndarray
    dy: Any
    cotangents: list[np.ndarray]


@cache
def _expected(name: str, i: int) -> Expected:
    case = CASES[name][i]
    shapes = jax.eval_shape(case.make(layers).init, jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda s: jnp.asarray(rng.normal(0.1, 0.6, s.shape)), shapes)
    ids = jnp.array([[3, 0, 3, 4], [1, 3, 0, 3], [2, 2, 0, 1]], "int32")
    x = ids if case.x == "ids" else jnp.asarray(rng.normal(size=case.x))
    leaves, tree = jax.tree.flatten((params, x))
    definition = lambda *leaves: case.definition(*jax.tree.unflatten(tree, leaves))  # noqa: E731
    (value,), (dy,), cotangents = autograd(definition, leaves)
    return Expected(params, x, value, jnp.asarray(dy), cotangents)


def _right(name: str, i: int, module: ModuleType) -> None:
    case, (params, x, value, dy, cotangents) = CASES[name][i], _expected(name, i)
    layer = case.make(module)
    with python_loops():
        y, residuals = layer.fwd(params, x)
        same_values(y, [value])
        dparams, dx = layer.bwd(params, residuals, dy)
    assert jax.tree.structure(dparams) == jax.tree.structure(params)
    assert (dx is None) == (case.x == "ids")
    same_values((dparams, dx), cotangents)
    if layer.can_recompute:
        same_values(layer.recompute(params, residuals), [value])
    with python_loops():
        y, stats = layer.calibrate(params, x)
        same_values(y, [value])
        same_values(layer.apply(params, stats, x), [value])
    cache, ys = layer.cache(params, B), []
    for t in range(T if case.by_step else 0):
        y_t, cache = layer.step(params, stats, cache, jnp.asarray(np.asarray(x)[:, t]))
        ys.append(y_t)
    if ys:
        same_values(np.stack(ys, 1), [value])
    if jax.tree.leaves(stats):
        _counted(layer, params, x)
    _init(layer, params)


def _counted(layer: Any, params: Any, x: Any) -> None:
    """An example with count 2 is equivalent to the example occurring twice."""
    y, stats = layer.calibrate(params, x, jnp.array([2.0, 0.0, 1.0]))
    want, same_stats = layer.calibrate(params, jnp.asarray(np.asarray(x)[[0, 0, 2]]))
    same_values(np.asarray(y)[[0, 2]], [np.asarray(want)[[0, 2]]])
    same_values(stats, [np.asarray(s) for s in jax.tree.leaves(same_stats)])


def _init(layer: Any, params: Any) -> None:
    """Parameters have these shapes, and another key draws others."""
    first, again, other = (
        jax.tree.map(np.asarray, layer.init(jax.random.key(seed))) for seed in (0, 0, 1)
    )
    same(first, again)
    assert jax.tree.structure(first) == jax.tree.structure(params)
    drawn = [leaf.ravel() for leaf in jax.tree.leaves(first) if np.unique(leaf).size > 1]
    if drawn:
        numbers = np.concatenate(drawn)
        assert len(set(numbers.tolist())) == numbers.size
    for a, b, p in zip(*map(jax.tree.leaves, (first, other, params)), strict=True):
        assert a.shape == b.shape == p.shape
        assert (a == b).all() == (np.ptp(a) == 0)


def _leading(name: str, i: int, module: ModuleType) -> None:
    """Two stacked batches give the same as each alone, unless the layer has statistics."""
    case, (params, x, value, dy, cotangents) = CASES[name][i], _expected(name, i)
    layer = case.make(module)
    xs, dys = (jnp.asarray(np.stack([a, a[::-1]])) for a in map(np.asarray, (x, dy)))
    with python_loops():
        y, residuals = layer.fwd(params, xs)
        if jax.tree.leaves(layer.calibrate(params, x)[1]):
            return
        same_values(y, [np.stack([value, value[::-1]])])
        dparams, dx = layer.bwd(params, residuals, dys)
    n = len(jax.tree.leaves(params))
    want = [2 * d for d in cotangents[:n]] + [np.stack([d, d[::-1]]) for d in cotangents[n:]]
    same_values((dparams, dx), want)


def _narrow(name: str, i: int, module: ModuleType) -> None:
    """Check the dtypes in bfloat16, by abstract evaluation."""
    case, (params, x, _, dy, _) = CASES[name][i], _expected(name, i)
    layer = case.make(module)

    def outputs(params: Any, x: Any, dy: Any) -> list[Any]:
        y, residuals = layer.fwd(params, x)
        again, stats = layer.calibrate(params, x)
        outs = [y, layer.bwd(params, residuals, dy), again, layer.apply(params, stats, x)]
        if layer.can_recompute:
            outs.append(layer.recompute(params, residuals))
        if case.by_step:
            outs.append(layer.step(params, stats, layer.cache(params, B), x[:, 0])[0])
        return outs

    narrow = jax.tree.map(
        lambda a: np.asarray(a).astype("bfloat16" if a.dtype == "float64" else a.dtype),
        (params, x, dy),
    )
    with python_loops():
        outs = jax.eval_shape(outputs, *narrow)
    assert all(leaf.dtype == "bfloat16" for leaf in jax.tree.leaves(outs))


# Properties of single layers ----------------------------------------------------------------------


def _draws(sampler: Any, mean: float, std: float, low: float, high: float) -> None:
    draws = np.asarray(sampler(jax.random.key(0), (100, 1000)))
    assert abs(draws.mean() - mean) < 0.02 * std + 1e-12
    assert abs(draws.std() - std) <= 1e-3 * 5 * std
    assert low <= draws.min() and draws.max() <= high


def _base(module: ModuleType) -> None:
    draws = 3 + 0.5 * jax.random.normal(jax.random.key(0), (3, 5))
    same(module.Normal(0.5, 3.0)(jax.random.key(0), (3, 5)), draws)
    _draws(module.Uniform(0.5), 0, 0.5 / 3**0.5, -0.5, 0.5)
    assert (module.Normal(), module.Normal(2.0)) == (
        module.Normal(1.0, 0.0),
        module.Normal(2.0, 0.0),
    )

    class Double(module.Layer):
        def fwd(self, params, x, key=None):
            assert params == {"a": 1}
            return 2 * x, (x,)

    layer = Double()
    assert (layer.init(jax.random.key(0)), layer.cache({}, 3)) == ({}, ())
    assert not layer.can_recompute
    assert layer.calibrate({"a": 1}, jnp.array(3)) == (6, {})
    assert layer.apply({"a": 1}, {}, jnp.array(3)) == 6
    assert layer.step({"a": 1}, {}, "cache", jnp.array(3)) == (6, "cache")
    assert layer.map(None) is layer


def _combinators(module: ModuleType) -> None:
    model = module.Chain(a=L.Tanh(), b=L.Relu())
    assert repr(model) == "Chain(a=Tanh(), b=Relu())"
    assert repr(module.Add(**{"0": L.Tanh()})) == "Add(**{'0': Tanh()})"
    assert repr(module.Residual(a=L.Tanh(), **{"0": L.Tanh()})).startswith("Residual(**{'a'")
    # An input is stored only if the preceding layer cannot recompute it.
    kept = module.Chain(
        a=L.Linear(3, 3), b=L.Gelu(approximate=True), c=L.Linear(3, 3), d=L.Tanh(),
        e=L.Linear(3, 3), f=L.Gelu(approximate=True), g=L.LayerNorm(3),
        h=L.Gelu(approximate=True), i=L.Linear(3, 3),
    )  # fmt: skip
    _, residuals = kept.fwd(kept.init(jax.random.key(0)), jnp.ones((2, 3)))
    counts = [len(jax.tree.leaves(residuals[name])) for name in "abcdefghi"]
    assert counts == [1, 1, 0, 1, 1, 1, 4, 0, 1]
    for kind in (module.Chain, module.Residual, module.Add):
        assert kind(a=L.Tanh(), b=L.Relu()).map(lambda _: L.Tanh()) == kind(a=L.Tanh(), b=L.Tanh())
        layer = kind(a=L.Dropout(0.5), b=L.Dropout(0.5))
        params = {"a": {}, "b": {}}
        _, quiet = layer.fwd(params, jnp.ones((9, 9)))
        assert quiet == {"a": None, "b": None}
        _, residuals = layer.fwd(params, jnp.ones((9, 9)), jax.random.key(0))
        assert (residuals["a"] != residuals["b"]).any()
    assert module.Add(a=L.Embedding(3, 2)).bwd(
        {"a": {"weight": jnp.ones((3, 2))}}, {"a": jnp.array([1])}, jnp.ones((1, 2))
    )[1] is None  # fmt: skip


def _contexts(module: ModuleType) -> None:
    _, residuals = module.FlattenConsecutive(2).fwd({}, jnp.ones((3, 4, 6)))
    assert residuals.size == 0  # nothing is kept
    ids = jnp.array([[1, 2, 3, 4], [4, 3, 3, 1]], "int32")
    for newest_first in (False, True):
        layer = module.Windows(3, blank=9, newest_first=newest_first)
        y, residuals = layer.fwd({}, ids)
        want = np.array([[9, 9, 1], [9, 1, 2], [1, 2, 3], [2, 3, 4]])
        want = np.stack([want, [[9, 9, 4], [9, 4, 3], [4, 3, 3], [3, 3, 1]]])
        want = want[..., ::-1] if newest_first else want
        assert y.tolist() == want.tolist()
        assert layer.bwd({}, residuals, None) == ({}, None)
        cache = layer.cache({}, 2)
        for t in range(4):
            y_t, cache = layer.step({}, {}, cache, ids[:, t])
            assert y_t.tolist() == want[:, t].tolist()
    assert module.Windows(1) == module.Windows(1, 0, False)
    y, _ = module.Windows(2, blank=128).fwd({}, jnp.zeros((1, 2), "int8"))
    assert y.tolist() == [[[128, 0], [0, 0]]]
    y, residuals = module.JoinIds(10).fwd({}, jnp.array([[[1, 2, 3]], [[9, 9, 9]]], "int8"))
    assert y.tolist() == [[123], [999]]
    assert module.JoinIds(10).bwd({}, residuals, None) == ({}, None)


def _elementwise(module: ModuleType) -> None:
    assert module.Gelu.can_recompute
    layer, x = module.Dropout(0.3), jnp.full((30, 30), 0.7)
    y, mask = layer.fwd({}, x, jax.random.key(0))
    assert 0 < (~mask).mean() < 0.5
    same_values(y, [np.where(mask, 1.0, 0.0)])
    assert layer.bwd({}, mask, x)[0] == {}
    same_values(layer.bwd({}, mask, x)[1], [np.where(mask, 1.0, 0.0)])


def _embedding(module: ModuleType) -> None:
    layer = module.PositionEmbedding(2, 3)
    params = layer.init(jax.random.key(0))
    refuses(layer.fwd, params, jnp.zeros((1, 3), "int32"))
    cache = layer.cache(params, 1)
    for finite in (True, True, False, False):
        y_t, cache = layer.step(params, {}, cache, jnp.zeros(1, "int32"))
        assert np.isfinite(y_t).all() == finite
    _draws(lambda key, _: module.Embedding(100, 1000).init(key)["weight"], 0, 1, -9, 9)
    _draws(lambda key, _: module.PositionEmbedding(100, 1000).init(key)["weight"], 0, 1, -9, 9)
    layer = module.PositionEmbedding(100, 1000, weight=L.Normal(0.0, 3.0))
    assert (layer.init(jax.random.key(0))["weight"] == 3).all()
    # The sum over many rows of a batch is rounded once.
    layer, dy = module.PositionEmbedding(1, 1), jnp.full((3001, 1, 1), 1.0, "bfloat16")
    params = {"weight": jnp.ones((1, 1), "bfloat16")}
    _, residuals = layer.fwd(params, jnp.zeros((3001, 1), "int32"))
    assert layer.bwd(params, residuals, dy)[0]["weight"] == 3008


def _linear_init(module: ModuleType) -> None:
    params = module.Linear(100, 1000).init(jax.random.key(0))
    _draws(lambda *_: params["weight"], 0, 1, -9, 9)
    assert module.fan_in_linear(4, 3) == module.Linear(4, 3, L.Uniform(0.5), L.Uniform(0.5))
    assert module.fan_in_linear(4, 3, bias=False) == module.Linear(4, 3, L.Uniform(0.5), None)
    assert module.Linear(1, 1).bias == module.Linear(1, 1).weight == L.Normal()


def _mixing(module: ModuleType) -> None:
    assert module.CausalSelfAttention.can_recompute
    refuses(module.CausalSelfAttention, 7, 3, 4)
    layer, x_t = module.CausalSelfAttention(2, 1, 2), jnp.ones((1, 6))
    cache = layer.cache({}, 1)
    for finite in (True, True, False, False):
        y_t, cache = layer.step({}, {}, cache, x_t)
        assert np.isfinite(y_t).all() == finite


def _norms_init(module: ModuleType) -> None:
    assert module.LayerNorm.can_recompute
    for layer in (module.BatchNorm(3), module.LayerNorm(3)):
        params = layer.init(jax.random.key(0))
        assert (params["gain"].tolist(), params["bias"].tolist()) == ([1, 1, 1], [0, 0, 0])
        assert layer.eps == 1e-5
    layer = module.BatchNorm(7, L.Normal(), L.Normal())
    params = layer.init(jax.random.key(0))
    assert not set(params["gain"].tolist()) & set(params["bias"].tolist())
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 7)))
    _, stats = layer.calibrate(params, x)
    same_values([stats["mean"], stats["var"]], [np.mean(x, 0), np.var(x, 0, ddof=1)])


def _recurrent(module: ModuleType) -> None:
    for cell in (module.RnnCell(3, 6), module.GruCell(3, 6), module.LstmCell(3, 6)):
        params = module.ScanTime(cell).init(jax.random.key(0))
        assert not params["start"].any()
        numbers = np.concatenate([p.ravel() for p in jax.tree.leaves(params["cell"])])
        assert 0.3 < np.abs(numbers).max() <= 1 / 3
    x, h = (
        jnp.asarray(np.random.default_rng(i).normal(size=(2, 3 + 3 * i)), "float32")
        for i in range(2)
    )
    for cell in (module.RnnCell(3, 6), module.LstmCell(3, 6)):
        params = cell.init(jax.random.key(0))
        (one, want), (two, ours) = (_one_step(cell, params, x, h, d) for d in (x.dtype, "bfloat16"))
        assert (one, two) == (1, 2)  # x and h are kept as one array where they have one dtype
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(want), strict=True):
            a, b = np.asarray(a, "float32"), np.asarray(b)
            assert np.abs(a - b).max() < 0.05 * np.abs(b).max()


def _one_step(cell: Any, params: Any, x: Any, h: Any, dtype: Any) -> tuple[int, Any]:
    params, state = jax.tree.map(lambda a: a.astype(dtype), (params, (h,) * cell.n_states))
    new, residuals = cell.fwd(params, x, state)
    return len(residuals[0]), cell.bwd(params, residuals, new)


def _description(module: ModuleType) -> None:
    tree = {"a": {"b": 1, "c": 2}}
    assert module.by_path(tree) == {"a.b": 1, "a.c": 2}
    block = L.Residual(hidden=L.Linear(3, 30, bias=None), act=L.Tanh())
    model = L.Chain(blocks=L.Chain(**{"0": block}), head=L.Linear(30, 50))
    assert module.count_parameters(model) == 1640
    assert module.describe(model).split("\n") == [
        "blocks           Chain",
        "blocks.0         Residual",
        "blocks.0.hidden  Linear    weight (3, 30)                  90",
        "blocks.0.act     Tanh",
        "head             Linear    bias (50,), weight (30, 50)  1,550",
        "1,640 parameters",
    ]
    assert module.describe(model, 56).split("\n")[-3:-1] == [
        "head             Linear    bias (50,), weight    1,550",
        "                           (30, 50)",
    ]
    rows = module.describe_layers(model)
    assert rows[0] == ("blocks", "Chain", "", "")
    assert rows[4] == ("head", "Linear", "bias (50,), weight (30, 50)", "1,550")
    head = "<table><tr><th>layer</th><th>class</th><th>parameters</th><th>count</th></tr>"
    act = "<tr><td>act</td><td>Tanh</td><td></td><td></td></tr>"
    shown = module.as_html(L.Chain(act=L.Tanh()))
    assert shown == f"{head}{act}</table><p>0 parameters</p>"


OTHERS: dict[str, list[Check]] = {
    "base": [_base],
    "combinators": [_combinators],
    "contexts": [_contexts],
    "description": [_description],
    "elementwise": [_elementwise],
    "embedding": [_embedding],
    "linear": [_linear_init],
    "mixing": [_mixing],
    "norms": [_norms_init],
    "recurrent": [_recurrent],
}
