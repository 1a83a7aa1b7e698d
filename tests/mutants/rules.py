"""Checks that kill mutants of rules: the definition, its autograd, and the contract."""

import inspect
import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmore import rules
from jaxmore.prove.program import names_of
from jaxmore.testing.arguments import parse_args
from jaxmore.testing.leaves import Leaves
from jaxmore.testing.shipped import FAMILIES
from tests.mutants.definitions import DEFINITIONS
from tests.mutants.oracle import autograd, python_loops, refuses, rounded_once, same, same_values

Check = Callable[[ModuleType], None]

DEFAULTS = {"eps": 1e-5, "axis": -1, "block_size": 128}
"""The default of each option, where a function has one."""

# The dtypes of the residuals in bfloat16: b bfloat16, f float32, i integers, m a mask.
KEPT = {
    "batch_norm": "bffb", "causal_attention": "bbbbff", "causal_mean": "", "dropout": "m",
    "embedding": "ib", "flatten": "", "flatten_consecutive": "", "gelu": "b", "gru_cell": "b" * 8,
    "l2_penalty": "b", "layer_norm": "bfffb", "linear": "bb", "lstm_cell": "b" * 9, "relu": "b",
    "rms_norm": "bfb", "rnn_cell": "bbbb", "sigmoid": "b", "softmax": "b",
    "softmax_cross_entropy": "biff", "tanh": "b",
}  # fmt: skip
LETTERS = {"bfloat16": "b", "float32": "f", "int32": "i", "int8": "i", "bool": "m"}
# These compute in their own dtype or from a rounded state, so they round more than once.
ROUNDINGS = {"tanh": 4, "sigmoid": 4, "dropout": 4, "lstm_cell": 2}


def checks_of(module: ModuleType) -> Iterator[Check]:
    """Yield the checks of the rules that a module defines, generic arguments first."""
    names = [name for name in FAMILIES if hasattr(module, f"{name}_fwd")]
    for name in names:
        yield partial(check_right, name, 0)
    for name in names:
        yield partial(_defaults, name)
        yield partial(_narrow, name)
        for i in range(1, len(FAMILIES[name])):
            yield partial(check_right, name, i)
        if name in EDGES:
            yield EDGES[name]
    for name, check in HELPERS.items():
        if getattr(module, name, None) and getattr(module, name).__module__ == module.__name__:
            yield check


class Functions(NamedTuple):
    op: Callable[..., Any]
    fwd: Callable[..., Any]
    bwd: Callable[..., Any]


def functions_of(home: Any, name: str, options: dict[str, Any]) -> Functions:
    """Return the three functions of a rule with its options bound."""
    three = (inspect.unwrap(getattr(home, name + end)) for end in ("", "_fwd", "_bwd"))
    return Functions(*(partial(function, **options) for function in three))


class Case(NamedTuple):
    """Arguments in float64, with the value and cotangents by autograd."""

    leaves: Leaves
    args: tuple[Any, ...]
    value: list[np.ndarray]
    dy: Any
    cotangents: list[np.ndarray]


@cache
def _case(name: str, i: int) -> Case:
    family = FAMILIES[name][i]
    args = parse_args(family.arguments)
    leaves = Leaves(args, names_of(getattr(rules, name), args))
    args = tuple(leaves.arrays)
    definition = partial(DEFINITIONS[name], **family.options)
    exact = args
    if name == "dropout":
        exact = args[0], jax.random.bernoulli(args[1], 1 - family.options["rate"], args[0].shape)
    y, dys, cotangents = autograd(definition, exact)
    dy = [jnp.asarray(d) for d in dys]
    return Case(leaves, args, y, tuple(dy) if len(dy) > 1 else dy[0], cotangents)


def check_right(name: str, i: int, module: ModuleType, *, same_bits: bool = True) -> None:
    """Compare values and gradients with PyTorch's in float64, and op with fwd to the bit."""
    options = FAMILIES[name][i].options
    case, rule = _case(name, i), functions_of(module, name, options)
    with python_loops():
        y, residuals = rule.fwd(*case.args)
        if "block_size" not in options:  # op of a loop: in _attention
            again = rule.op(*case.args)
            same(y, again) if same_bits else same_values(again, case.value, case.leaves.floats)
        assert all(leaf.dtype == "float64" for leaf in jax.tree.leaves(y))
        same_values(y, case.value, case.leaves.floats)
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(residuals))
        cotangents = rule.bwd(residuals, case.dy)
    taken = case.leaves.cotangents(cotangents, case.leaves.floats)
    same_values(taken, case.cotangents, jax.tree.leaves(case.dy))


def _narrow(name: str, module: ModuleType) -> None:
    """Check dtypes in bfloat16, and that results are rounded once."""
    options = FAMILIES[name][0].options
    case, rule = _case(name, 0), functions_of(module, name, options)
    args, dy = _as((case.args, case.dy), "bfloat16")
    if name in ("l2_penalty", "softmax_cross_entropy"):
        dy = dy.astype("float32")
    eps, steps = float(jnp.finfo("bfloat16").eps), ROUNDINGS.get(name, 0.51)
    with python_loops():
        y, residuals = rule.fwd(*args)
        assert "".join(LETTERS[str(r.dtype)] for r in jax.tree.leaves(residuals)) == KEPT[name]
        assert jax.tree.map(lambda a: a.dtype, y) == jax.tree.map(lambda a: a.dtype, dy)
        cotangents = rule.bwd(residuals, dy)
    floats = [a for a in args if a is not None and jnp.issubdtype(a.dtype, jnp.floating)]
    taken = case.leaves.cotangents(cotangents, floats)
    right = functions_of(rules, name, options)
    exact_args, exact_residuals, exact_dy = _as((args, residuals, dy), "float64")
    with python_loops():
        rounded_once(y, right.op(*exact_args), eps, steps)
        truth = right.bwd(exact_residuals, exact_dy)
    rounded_once(taken, [d for d in truth if d is not None], eps, steps)


def _as(tree: Any, dtype: str) -> Any:
    def cast(a: Any) -> Any:
        return a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a

    return jax.tree.map(cast, tree)


def _defaults(name: str, module: ModuleType) -> None:
    for function in functions_of(module, name, {}):
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name in DEFAULTS and parameter.default is not parameter.empty:
                assert parameter.default == DEFAULTS[parameter.name]


# What arguments in general do not show ------------------------------------------------------------


def _batch_norm(module: ModuleType) -> None:
    ones = jnp.ones(3)
    for function in (module.batch_norm, module.batch_norm_fwd):
        refuses(function, jnp.ones((1, 3)), ones, ones)
    refuses(module.batch_norm_statistics, jnp.ones((1, 3)))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 2)))
    counted = module.batch_norm_statistics(x, jnp.array([3.0, 0.0, 1.0]))
    rows = np.asarray(x)[[0, 0, 0, 2]].reshape(-1, 2)
    same_values(counted, [rows.mean(0), rows.var(0, ddof=1)])
    one = module.batch_norm_statistics(x[:1, :1], jnp.array([2.0], "float32"))
    same_values(one, [np.asarray(x[0, 0]), np.zeros(2)])
    narrow = module.batch_norm_statistics(x.astype("bfloat16"))
    assert [s.dtype for s in narrow] == ["float32", "float32"]
    x, gain, bias, mean = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)))
    want = gain * (x - mean) / jnp.sqrt(mean**2 + 1e-5) + bias
    same_values(module.batch_norm_inference(x, gain, bias, mean, mean**2), [np.asarray(want)])
    narrow = [a.astype("bfloat16") for a in (x, gain, bias)]
    y = module.batch_norm_inference(*narrow, mean.astype("float32"), (mean**2).astype("float32"))
    assert y.dtype == "bfloat16"
    x, gain, bias = (a.astype("float64") for a in narrow)
    want = gain * (x - mean) / jnp.sqrt(mean**2 + 1e-5) + bias
    rounded_once(y, want, float(jnp.finfo("bfloat16").eps))
    assert inspect.signature(module.batch_norm_inference).parameters["eps"].default == 1e-5


def _attention(module: ModuleType) -> None:
    q = jnp.asarray(np.random.default_rng(0).normal(size=(3, 9, 2)))
    for function in (module.causal_attention, module.causal_attention_fwd):
        refuses(function, q, q, q, block_size=0)
    # A single block if it suffices, and at most block_size² scores per head. Blocks have the same
    # size, rounded up to a multiple of 8 rows if that adds at most a seventh.
    for n_rows, block_size, loops, longest in (
        (9, 9, 0, 9), (9, 8, 1, 10), (9, 128, 0, 9),
        (15, 15, 0, 15), (15, 128, 0, 16), (14, 128, 0, 16), (13, 128, 0, 13), (29, 16, 1, 32),
    ):  # fmt: skip
        x = jax.ShapeDtypeStruct((3, n_rows, 2), q.dtype)
        rule = functions_of(module, "causal_attention", {"block_size": block_size})
        _, residuals = jax.eval_shape(rule.fwd, x, x, x)
        for function, args in ((rule.op, [x] * 3), (rule.fwd, [x] * 3), (rule.bwd, [residuals, x])):
            graph = str(jax.make_jaxpr(function)(*args))
            assert graph.count(" scan[") == loops
            lengths = re.findall(r"\d+", " ".join(re.findall(r"\[([\d,]+)\]", graph)))
            assert max(map(int, lengths)) == longest
    jax.eval_shape(partial(module.causal_attention, block_size=1), q, q, q)
    # The future has no effect, even if its scores are the largest.
    k = jnp.array([[-1e6], [-1e6], [0], [1], [1e6]])
    v = jnp.arange(5.0)[:, None]
    y, residuals = module.causal_attention_fwd(jnp.full((5, 1), 1e6), k, v)
    assert y[:, 0].tolist() == [0, 0.5, 2, 3, 4]
    assert all(jnp.isfinite(d).all() for d in module.causal_attention_bwd(residuals, y))
    # A single key in a row has weight 1 and slope 0 exactly.
    one, do = jnp.asarray(np.random.default_rng(0).normal(size=(2, 9, 1, 5)), "float32")
    _, alone = module.causal_attention_fwd(one, 2 * one, 3 * one)
    same(module.causal_attention_bwd(alone, do), (0 * do, 0 * do, do))
    # Recomputed scores of a row may round above or below its maximum, at 1e12 by a thousand.
    for less in (1e3, -1e3):
        other = residuals._replace(maximum=residuals.maximum - less)
        with python_loops():
            grads = [module.causal_attention_bwd(other, y, block_size=size) for size in (2, 5)]
        assert all(jnp.isfinite(d).all() for d in jax.tree.leaves(grads))
    with python_loops():  # nor has a block of small scores after one of large ones
        y, _ = module.causal_attention_fwd(jnp.full((5, 1), 1e6), k[::-1], v, block_size=2)
    assert y[:, 0].tolist() == [0, 0, 0, 0, 0]


def _softmax(module: ModuleType) -> None:
    """Check float32 where one probability is almost 1 and the plain formula would cancel."""
    x, dy = jnp.array([30.0, 0.0, -1.0], "float32"), jnp.array([1.0, 1e3, 2.0], "float32")
    (dx,) = module.softmax_bwd(module.softmax(x), dy)
    y = np.exp([0.0, -30.0, -31.0]) / np.exp([0.0, -30.0, -31.0]).sum()
    # The first element is minus the sum of the others: y₀ (dy₀ − Σ dy y) = −Σ y (dy − dy₀).
    want = np.array([-(y[1] * 999 + y[2] * 1), y[1] * 999, y[2] * 1])
    assert (np.abs(np.asarray(dx, "float64") - want) <= 1e-5 * np.abs(want)).all()


def _layer_norm(module: ModuleType) -> None:
    # The mean is removed completely, from y and from the variance, even far from zero.
    rows = np.random.default_rng(0).normal(1e5, 1, (9, 64)).astype("float32")
    one = jnp.ones(64, "float32")
    far, _ = module.layer_norm_fwd(jnp.asarray(rows), one, 0 * one)
    centred = rows - rows.mean(-1, keepdims=True, dtype="float64")
    want = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    assert np.abs(np.asarray(far, "float64") - want).max() < 2e-6
    x, gain, bias = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)), "bfloat16")
    none = jnp.zeros((1, 1), "float32")
    residuals = module.LayerNormResiduals(x[None], none, none, none + 1, gain)
    y = module.layer_norm_recompute(residuals, bias)
    assert y.dtype == "bfloat16"
    x, gain, bias = (np.asarray(a, "float64") for a in (x, gain, bias))
    rounded_once(y, (gain * x + bias)[None], float(jnp.finfo("bfloat16").eps))


def _recompute_after(module: ModuleType) -> None:
    """Residuals are unchanged, except for NaN where the signal is NaN and nothing is transposed."""
    residuals = {"x": jnp.array([3.0, -1.0]), "y": jnp.array([2.0, 5.0])}
    for signal in (0.5, 0.0, jnp.inf):
        same(module.recompute_after(jnp.array(signal), residuals), residuals)
    signal = jnp.array([0.5, jnp.nan])
    with module.without_recomputing():
        same(module.recompute_after(signal, residuals), residuals)
    lost = module.recompute_after(signal, residuals)
    same(lost, {"x": jnp.array([3.0, jnp.nan]), "y": jnp.array([2.0, jnp.nan])})


def _dropout(module: ModuleType) -> None:
    for rate in (-0.1, 1.0):
        refuses(module.dropout, jnp.ones(3), jax.random.key(0), rate=rate)


def _flatten(module: ModuleType) -> None:
    refuses(module.flatten, jnp.ones((2, 3, 4)), block_size=4)


def _flatten_consecutive(module: ModuleType) -> None:
    for n in (0, -1, 2):
        refuses(module.flatten_consecutive, jnp.ones((2, 3, 5)), n=n)
    assert module.flatten_consecutive(jnp.ones((3, 5)), n=1).shape == (3, 5)


def _tanh(module: ModuleType) -> None:
    """Check the accuracy in float32, also of the plain op, and a single rounding in bfloat16."""
    ends = [1, -1, 0.0, -0.0, 1e30, -1e30, np.inf, -np.inf]
    line = np.append(np.linspace(-12, 12, 9999), ends).astype("float32")
    x, truth = jnp.asarray(line), np.tanh(line.astype("float64"))
    y, _ = module.tanh_fwd(x)
    assert (np.abs(np.asarray(y, "float64") - truth) <= 1.6 * np.spacing(np.abs(y))).all()
    same(module.tanh(x), y)
    assert (np.signbit(y) == np.signbit(line)).all()
    narrow = x.astype("bfloat16")
    rounded, _ = module.tanh_fwd(narrow)
    same(rounded, module.tanh_fwd(narrow.astype("float32"))[0].astype("bfloat16"))


def _relu(module: ModuleType) -> None:
    x = jnp.array([-1.0, -0.0, 0.0, 2.0, jnp.nan])
    y, residuals = module.relu_fwd(x)
    same(y, jnp.array([0.0, 0.0, 0.0, 2.0, jnp.nan]))
    same(module.relu_bwd(residuals, jnp.full(5, 3.0)), (jnp.array([0.0, 0.0, 0.0, 3.0, 3.0]),))
    assert jax.jvp(module.relu, [x[1:3]], [jnp.ones(2)])[1].tolist() == [0, 0]  # forward mode


def _gelu(module: ModuleType) -> None:
    x = jnp.array([1e300, -1e300, 1e4, -1e4])
    for approximate in (True, False):
        y, residuals = module.gelu_fwd(x, approximate=approximate)
        same(y, jnp.array([1e300, 0.0, 1e4, 0.0]))
        (dx,) = module.gelu_bwd(residuals, jnp.ones(4), approximate=approximate)
        same(dx, jnp.array([1.0, 0.0, 1.0, 0.0]))


def _embedding(module: ModuleType) -> None:
    weight, ids = jnp.arange(200.0)[:, None], jnp.array([100, 0, 127], "int8")
    y, residuals = module.embedding_fwd(ids, weight)
    assert y[:, 0].tolist() == [100, 0, 127]
    assert module.embedding_bwd(residuals, y)[1][127].item() == 127


def _cross_entropy(module: ModuleType) -> None:
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(2, 300)))
    targets = jnp.array([-1, 44], "int8")  # 300 wraps to 44, and 255 to −1
    loss, residuals = module.softmax_cross_entropy_fwd(logits, targets)
    same_values(loss, [np.asarray(-jax.nn.log_softmax(logits)[1, 44])])
    (dlogits, _) = module.softmax_cross_entropy_bwd(residuals, jnp.ones(()))
    want = np.asarray(jax.nn.softmax(logits)) * [[0], [1]]
    want[1, 44] -= 1
    same_values(dlogits, [want])
    ignored = jnp.array([-1, -1], "int32")
    loss, residuals = module.softmax_cross_entropy_fwd(logits, ignored)
    assert loss == 0
    assert not module.softmax_cross_entropy_bwd(residuals, jnp.ones(()))[0].any()


def _linear(module: ModuleType) -> None:
    y, residuals = module.linear_fwd(jnp.ones((0, 3)), jnp.ones((3, 5)), jnp.ones(5))
    dx, dweight, dbias = module.linear_bwd(residuals, y)
    assert dx.shape == (0, 3) and not dweight.any() and not dbias.any()


def _l2(module: ModuleType) -> None:
    loss, residuals = module.l2_penalty_fwd(jnp.zeros((0, 3)), scale=0.1)
    assert loss == 0
    assert module.l2_penalty_bwd(residuals, jnp.ones(()), scale=0.1)[0].shape == (0, 3)


def _precision(module: ModuleType) -> None:
    wide = {"bfloat16": "float32", "float16": "float32", "float32": "float32", "float64": "float64"}
    for dtype, wanted in wide.items():
        assert module.accumulator(jnp.dtype(dtype)) == wanted
        x = jnp.arange(3, dtype=dtype)
        same(module.widen(x), jnp.arange(3, dtype=wanted))


def _sum_rows(module: ModuleType) -> None:
    """Sums over all axes but the last, in at least float32."""
    x = jnp.arange(24.0).reshape(2, 3, 4) ** 2
    same(module.sum_rows(x), jnp.array([sum(x[..., i].ravel()) for i in range(4)]))
    narrow = jnp.array([[256.0], [1.0], [1.0]], jnp.bfloat16)
    same(module.sum_rows(narrow), jnp.array([258.0], jnp.float32))


def _max_keepdims(module: ModuleType) -> None:
    """The maximum for either sign, over any axis, with the axis kept; constant to autodiff."""
    x = jnp.array([[-3.0, -1.0, -2.0], [5.0, -jnp.inf, 7.0]])
    same(module.max_keepdims(x), jnp.array([[-1.0], [7.0]]))
    same(module.max_keepdims(x[None]), jnp.array([[[-1.0], [7.0]]]))
    same(module.max_keepdims(x, axis=0), jnp.array([[5.0, -1.0, 7.0]]))
    same(module.max_keepdims(jnp.array([100.0, jnp.nan, 1.0])), jnp.array([100.0]))
    same(jax.grad(lambda x: module.max_keepdims(x).sum())(x), jnp.zeros_like(x))


HELPERS: dict[str, Check] = {
    "recompute_after": _recompute_after,
    "max_keepdims": _max_keepdims,
    "sum_rows": _sum_rows,
    "widen": _precision,
}
"""Checks of the files without rules."""

EDGES: dict[str, Check] = {
    "batch_norm": _batch_norm,
    "causal_attention": _attention,
    "dropout": _dropout,
    "embedding": _embedding,
    "flatten": _flatten,
    "flatten_consecutive": _flatten_consecutive,
    "gelu": _gelu,
    "l2_penalty": _l2,
    "layer_norm": _layer_norm,
    "linear": _linear,
    "relu": _relu,
    "softmax": _softmax,
    "softmax_cross_entropy": _cross_entropy,
    "tanh": _tanh,
}
