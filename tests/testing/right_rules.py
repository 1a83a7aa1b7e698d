"""Random right rules as a user might write them: chains of known derivatives."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxmore import rules

Random = np.random.Generator
Shape = tuple[int, ...]


class Step(NamedTuple):
    """A rule of x and parameters; ``fwd(x, *parameters)`` and ``bwd(residuals, dy)``."""

    fwd: Callable[..., tuple[Any, Any]]
    bwd: Callable[..., tuple[Any, ...]]
    draw: Callable[[Random, Shape], list[Any]] = lambda random, shape: []
    """The parameters for an x of this shape."""
    suits: Callable[[Shape], bool] = lambda shape: True


class RightRule(NamedTuple):
    fwd: Callable[..., tuple[Any, Any]]
    bwd: Callable[..., tuple[Any, ...]]
    args: tuple[Any, ...]
    text: str
    """The steps and the shape of x, for messages."""


def draw_rule(seed: int) -> RightRule:
    """Draw one or two chains of one to four steps, maybe with their parameters in a dict."""
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(1, 6, random.integers(1, 4)).tolist())
    x, starts = _floats(random, shape), []
    if random.random() < 0.2:
        x, starts = random.integers(0, 4, shape, random.choice(["int8", "int32"])), ["embedding"]
    branches = [_draw_chain(random, x, starts) for _ in range(random.choice([1, 1, 1, 2]))]
    text = f"{' and '.join(chain.text for chain in branches)} of {x.dtype}{list(shape)}"
    if len(branches) == 2:
        return _side_by_side(x, *branches, text=text)
    (chain,) = branches
    if chain.parameters and random.random() < 0.3:
        return _with_a_dict(x, chain, text)
    return RightRule(chain.fwd, chain.bwd, (x, *chain.parameters), text)


class _Chain(NamedTuple):
    fwd: Callable[..., tuple[Any, Any]]
    bwd: Callable[..., tuple[Any, ...]]
    parameters: list[Any]
    text: str


def _draw_chain(random: Random, x: np.ndarray, starts: list[str]) -> _Chain:
    names, steps, counts, parameters = [], [], [], []
    y, left = jnp.asarray(x), int(random.integers(1, 5))
    while left > 0 and "loss" not in names:
        suiting = [name for name, step in STEPS.items() if step.suits(y.shape)]
        name = starts[0] if starts and not names else str(random.choice(suiting))
        step = (START if starts and not names else STEPS)[name]
        drawn = step.draw(random, y.shape)
        y = step.fwd(y, *(p if p is None else jnp.asarray(p) for p in drawn))[0]
        names.append(name)
        steps.append(step)
        counts.append(len(drawn))
        parameters += drawn
        left -= 1

    def fwd(x: Any, *parameters: Any) -> tuple[Any, Any]:
        saved, first = [], 0
        for step, n in zip(steps, counts, strict=True):
            x, residuals = step.fwd(x, *parameters[first : first + n])
            saved.append(residuals)
            first += n
        return x, saved

    def bwd(saved: Any, d: Any) -> tuple[Any, ...]:
        cotangents: list[Any] = []
        for step, residuals in zip(reversed(steps), reversed(saved), strict=True):
            d, *of_parameters = step.bwd(residuals, d)
            cotangents = of_parameters + cotangents
        return d, *cotangents

    return _Chain(fwd, bwd, parameters, ", ".join(names))


def _with_a_dict(x: Any, chain: _Chain, text: str) -> RightRule:
    names = [f"p{i}" for i in range(len(chain.parameters))]

    def fwd(x: Any, params: dict[str, Any]) -> tuple[Any, Any]:
        return chain.fwd(x, *(params[name] for name in names))

    def bwd(saved: Any, d: Any) -> tuple[Any, ...]:
        dx, *cotangents = chain.bwd(saved, d)
        return dx, dict(zip(names, cotangents, strict=True))

    params = dict(zip(names, chain.parameters, strict=True))
    return RightRule(fwd, bwd, (x, params), f"{text}, parameters in a dict")


def _side_by_side(x: Any, one: _Chain, two: _Chain, text: str) -> RightRule:
    n = len(one.parameters)

    def fwd(x: Any, *parameters: Any) -> tuple[Any, Any]:
        (y1, saved1), (y2, saved2) = one.fwd(x, *parameters[:n]), two.fwd(x, *parameters[n:])
        return (y1, y2), (saved1, saved2)

    def bwd(saved: Any, d: Any) -> tuple[Any, ...]:
        (dx1, *dp1), (dx2, *dp2) = one.bwd(saved[0], d[0]), two.bwd(saved[1], d[1])
        return None if dx1 is None else dx1 + dx2, *dp1, *dp2

    return RightRule(fwd, bwd, (x, *one.parameters, *two.parameters), text)


# The steps ---------------------------------------------------------------------------------------


def _floats(random: Random, shape: Shape) -> np.ndarray:
    size, shift = random.choice([1.0, 1.0, 0.01, 8.0]), random.choice([0.0, 0.0, 3.0])
    dtype = random.choice(["float32", "float64", "float16"])
    return (size * random.normal(size=shape) + shift).astype(dtype)


def _own(forward: Callable[..., Any], pullback: Callable[..., Any], **rest: Any) -> Step:
    """A step from y = forward(x, p) and the cotangents pullback(x, p, y, dy)."""

    def fwd(x: Any, p: Any = None) -> tuple[Any, Any]:
        y = forward(x, p)
        return y, (x, p, y)

    return Step(fwd, lambda saved, d: pullback(*saved, d), **rest)


def _shipped(name: str, draw: Any = None, suits: Any = None, **options: Any) -> Step:
    """A step from a rule of jaxmore."""
    fwd, bwd = (partial(getattr(rules, name + end), **options) for end in ("_fwd", "_bwd"))
    step = Step(fwd, bwd)
    return step._replace(draw=draw or step.draw, suits=suits or step.suits)


def _row(random: Random, shape: Shape) -> list[Any]:
    return [random.normal(size=shape[-1:])]


def _two_rows(random: Random, shape: Shape) -> list[Any]:
    return _row(random, shape) + _row(random, shape)


def _matrix(random: Random, shape: Shape) -> list[Any]:
    return [random.normal(size=(shape[-1], random.integers(1, 6)))]


def _matrix_and_bias(random: Random, shape: Shape) -> list[Any]:
    (weight,) = _matrix(random, shape)
    return [weight, random.normal(size=weight.shape[1:]) if random.random() < 0.5 else None]


def _keys_and_values(random: Random, shape: Shape) -> list[Any]:
    return [random.normal(size=shape), random.normal(size=shape)]


def _cell(random: Random, shape: Shape) -> list[Any]:
    n_in, n = shape[-1], int(random.integers(1, 4))
    h, weight, bias = (*shape[:-1], n), (n_in + n, n), (n,)
    return [random.normal(size=size) for size in (h, weight, bias)]


def _targets(random: Random, shape: Shape) -> list[Any]:
    return [random.integers(-1, shape[-1], shape[:-1])]


def _rows_of(random: Random, shape: Shape) -> list[Any]:
    return [random.integers(0, shape[0], random.integers(1, 6))]


def _column(random: Random, shape: Shape) -> list[Any]:
    return [random.normal(size=(*shape[:-1], 1))]


def _scalar(random: Random, shape: Shape) -> list[Any]:
    return [random.normal()]


def _is_matrix(shape: Shape) -> bool:
    return len(shape) > 1


def _all_but_last(x: Any) -> tuple[int, ...]:
    return tuple(range(x.ndim - 1))


def _log_sum_exp(x: Any, p: Any) -> Any:
    top = x.max(-1, keepdims=True)
    return top + jnp.log(jnp.exp(x - top).sum(-1, keepdims=True))


START = {
    "embedding": _shipped("embedding", lambda random, shape: [random.normal(size=(4, 3))]),
}
STEPS = {
    # A user's own, by the rules of calculus.
    "sin": _own(lambda x, p: jnp.sin(x), lambda x, p, y, d: (jnp.cos(x) * d,)),
    "square": _own(lambda x, p: x * x, lambda x, p, y, d: (2 * x * d,)),
    "bell": _own(lambda x, p: jnp.exp(-x * x), lambda x, p, y, d: (-2 * x * y * d,)),
    "root": _own(lambda x, p: jnp.sqrt(1 + x * x), lambda x, p, y, d: (x / y * d,)),
    "abs": _own(lambda x, p: jnp.abs(x), lambda x, p, y, d: (jnp.sign(x) * d,)),
    "cumsum": _own(
        lambda x, p: jnp.cumsum(x, 0), lambda x, p, y, d: (jnp.cumsum(d[::-1], 0)[::-1],)
    ),
    "turn": _own(lambda x, p: x[::-1], lambda x, p, y, d: (d[::-1],)),
    "transpose": _own(lambda x, p: x.mT, lambda x, p, y, d: (d.mT,), suits=_is_matrix),
    "mean": _own(
        lambda x, p: x.mean(0, keepdims=True),
        lambda x, p, y, d: (jnp.broadcast_to(d / len(x), x.shape),),
    ),
    "log sum exp": _own(_log_sum_exp, lambda x, p, y, d: (jnp.exp(x - y) * d,)),
    "scale": _own(
        lambda x, p: x * p, lambda x, p, y, d: (d * p, (d * x).sum(_all_but_last(x))), draw=_row
    ),
    "shift": _own(
        lambda x, p: x + p, lambda x, p, y, d: (d, d.sum(_all_but_last(x))), draw=_row
    ),
    "factor": _own(lambda x, p: p * x, lambda x, p, y, d: (p * d, (d * x).sum()), draw=_scalar),
    "column": _own(
        lambda x, p: x * p, lambda x, p, y, d: (d * p, (d * x).sum(-1, keepdims=True)),
        draw=_column,
    ),
    "divide": _own(
        lambda x, p: x / (1 + p * p),
        lambda x, p, y, d: (d / (1 + p * p), (-2 * p * d * y / (1 + p * p)).sum(_all_but_last(x))),
        draw=_row,
    ),
    "matrix": _own(
        lambda x, p: x @ p,
        lambda x, p, y, d: (d @ p.T, jnp.einsum("...i,...j->ij", x, d)),
        draw=_matrix,
    ),
    "rows": _own(
        lambda x, p: x[p],
        lambda x, p, y, d: (jnp.zeros_like(x).at[p].add(d), None),
        draw=_rows_of,
    ),
    # Those that ship.
    **{name: _shipped(name) for name in ("tanh", "sigmoid", "relu", "softmax")},
    "gelu": _shipped("gelu", approximate=False),
    "gelu by tanh": _shipped("gelu", approximate=True),
    "layer norm": _shipped("layer_norm", _two_rows),
    "rms norm": _shipped("rms_norm", _row),
    "batch norm": _shipped(
        "batch_norm", _two_rows, lambda shape: _is_matrix(shape) and np.prod(shape[:-1]) > 2
    ),
    "linear": _shipped("linear", _matrix_and_bias),
    "attention": _shipped("causal_attention", _keys_and_values, _is_matrix),
    "attention in blocks": _shipped("causal_attention", _keys_and_values, _is_matrix, block_size=2),
    "causal mean": _shipped("causal_mean", suits=_is_matrix),
    "rnn cell": _shipped("rnn_cell", _cell),
    "loss": _shipped("softmax_cross_entropy", _targets, lambda shape: len(shape) > 0),
}  # fmt: skip
