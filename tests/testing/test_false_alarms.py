"""No false alarm: random compositions of operations with derivatives that are surely right."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.testing.rule import examine


class Operation(NamedTuple):
    """An operation of x and perhaps a parameter, and its pullback from (x, p, y, dy)."""

    forward: Callable
    pullback: Callable
    parameter: str = ""
    """Its shape: 'square', 'row' or none."""


def softmax(x):
    e = jnp.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


OPERATIONS = {
    "sin": Operation(lambda x, p: jnp.sin(x), lambda x, p, y, d: (jnp.cos(x) * d, None)),
    "tanh": Operation(lambda x, p: jnp.tanh(x), lambda x, p, y, d: ((1 - y) * (1 + y) * d, None)),
    "square": Operation(lambda x, p: x * x, lambda x, p, y, d: (2 * x * d, None)),
    "exp": Operation(lambda x, p: jnp.exp(-x * x), lambda x, p, y, d: (-2 * x * y * d, None)),
    "root": Operation(lambda x, p: jnp.sqrt(1 + x * x), lambda x, p, y, d: (x / y * d, None)),
    "relu": Operation(lambda x, p: jnp.maximum(x, 0), lambda x, p, y, d: ((x > 0) * d, None)),
    "softmax": Operation(
        lambda x, p: softmax(x),
        lambda x, p, y, d: (y * (d - (y * d).sum(-1, keepdims=True)), None),
    ),
    "centre": Operation(
        lambda x, p: x - x.mean(0), lambda x, p, y, d: (d - d.mean(0), None)
    ),
    "turn": Operation(lambda x, p: x[::-1], lambda x, p, y, d: (d[::-1], None)),
    "sum": Operation(
        lambda x, p: jnp.cumsum(x, 0), lambda x, p, y, d: (jnp.cumsum(d[::-1], 0)[::-1], None)
    ),
    "matrix": Operation(
        lambda x, p: x @ p, lambda x, p, y, d: (d @ p.T, x.T @ d), parameter="square"
    ),
    "scale": Operation(
        lambda x, p: x * p, lambda x, p, y, d: (d * p, (d * x).sum(0)), parameter="row"
    ),
    "shift": Operation(lambda x, p: x + p, lambda x, p, y, d: (d, d.sum(0)), parameter="row"),
}  # fmt: skip


def compose(names: list[str]) -> tuple[Callable, Callable]:
    """The forward and backward function of operations one after the other."""
    steps = [OPERATIONS[name] for name in names]

    def fwd(x, *parameters):
        saved, rest = [], list(parameters)
        for step in steps:
            p = rest.pop(0) if step.parameter else None
            y = step.forward(x, p)
            saved.append((x, p, y))
            x = y
        return x, saved

    def bwd(saved, d):
        cotangents = []
        for step, values in zip(reversed(steps), reversed(saved), strict=True):
            d, dp = step.pullback(*values, d)
            cotangents += [dp] if step.parameter else []
        return d, *reversed(cotangents)

    return fwd, bwd


@pytest.mark.parametrize("structure", range(20))
def test_a_right_rule_is_never_called_wrong(structure: int):
    random = np.random.default_rng(structure)
    names = random.choice(list(OPERATIONS), size=random.integers(1, 5)).tolist()
    n, width = random.integers(1, 7, 2)
    fwd, bwd = compose(names)
    shapes = {"square": (width, width), "row": (width,)}
    for _ in range(10):
        size, shift = random.choice([1.0, 1.0, 0.01, 8.0]), random.choice([0.0, 0.0, 3.0])
        x = size * random.normal(size=(n, width)) + shift
        parameters = [
            random.normal(size=shapes[OPERATIONS[name].parameter])
            for name in names
            if OPERATIONS[name].parameter
        ]
        report = examine(fwd, bwd, x, *parameters, dtypes=(), modes=False)
        assert report.passed, (names, n, width, size, shift, str(report))
