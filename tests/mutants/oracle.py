"""Shared by the checks: values and gradients of definitions by autograd, and comparisons."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import torch

TOLERANCE = 1e-12
"""For float64, relative to the largest element. The values are generic, so nothing cancels."""
FLOOR = 1e-2
"""The scale of a gradient that is zero by identity, relative to the largest gradient."""

MOST_STEPS = 20
"""The most iterations of a loop. A mutant that needs more is wrong and might not terminate."""


def autograd(
    definition: Callable[..., Any], args: Sequence[Any], seed: int = 0
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Return the value, a cotangent dy and the cotangents of the float arguments, in float64."""
    leaves = [_leaf(a) for a in args]
    y = definition(*leaves)
    ys = y if isinstance(y, tuple) else (y,)
    rng = np.random.default_rng(seed)
    dys = [np.copysign(abs(d) + 0.1, d) for d in (rng.normal(size=tuple(a.shape)) for a in ys)]
    torch.autograd.backward(ys, [torch.tensor(d, dtype=torch.float64) for d in dys])
    grads = [
        np.zeros(tuple(a.shape)) if a.grad is None else a.grad.numpy()
        for a in leaves
        if a is not None and a.requires_grad
    ]
    return [a.detach().numpy() for a in ys], dys, grads


def _leaf(array: Any) -> Any:
    if array is None:
        return None
    if jnp.issubdtype(array.dtype, jnp.floating):
        return torch.tensor(np.asarray(array, "float64"), requires_grad=True)
    return torch.tensor(np.asarray(array)).long()


def same_values(ours: Any, expected: Sequence[np.ndarray], inputs: Sequence[Any] = ()) -> None:
    """Assert that the leaves equal the expected arrays, relative to the largest element.

    If inputs are given, the tolerance is also relative to them, because a value that is small in
    comparison is a difference of numbers of their size.
    """
    leaves = jax.tree.leaves(ours)
    assert len(leaves) == len(expected)
    largest = max((np.abs(e).max(initial=0) for e in (*expected, *inputs)), default=0)
    for a, e in zip(leaves, expected, strict=True):
        scale = max(np.abs(e).max(initial=0), FLOOR * largest)
        assert a.shape == e.shape
        assert (np.abs(np.asarray(a, "float64") - e) <= TOLERANCE * scale).all()


def rounded_once(ours: Any, truth: Any, eps: float, steps: float = 0.51) -> None:
    """Assert that a narrow result is the rounded float64 one, within ``steps`` eps."""
    for a, e in zip(jax.tree.leaves(ours), jax.tree.leaves(truth), strict=True):
        a, e = np.asarray(a, "float64"), np.asarray(e, "float64")
        assert a.shape == e.shape
        assert (np.abs(a - e) <= steps * eps * np.abs(e) + 1e-5 * np.abs(e).max(initial=0)).all()


def same(a: Any, b: Any) -> None:
    """Assert that two trees hold the same bits."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        assert np.array_equal(np.asarray(x), np.asarray(y), equal_nan=True)


def refuses(function: Callable[..., Any], *args: Any, **options: Any) -> None:
    """Assert that the call raises a ValueError."""
    try:
        function(*args, **options)
    except ValueError:
        return
    raise AssertionError("not refused")


@contextmanager
def python_loops() -> Iterator[None]:
    """Run ``lax.scan`` as a Python loop; compiling it for each mutant would dominate the time."""

    def scan(f: Any, init: Any, xs: Any, length: int | None = None, reverse: bool = False) -> Any:
        leaves, tree = jax.tree.flatten(xs)
        assert len(leaves[0]) <= MOST_STEPS
        rows = list(zip(*map(jnp.unstack, leaves), strict=True))
        ys: list[Any] = []
        for row in reversed(rows) if reverse else rows:
            init, y = f(init, jax.tree.unflatten(tree, row))
            ys.append(y)
        ys = ys[::-1] if reverse else ys
        return init, jax.tree.map(lambda *leaves: jnp.stack(leaves), *ys)

    with mock.patch.object(jax.lax, "scan", scan):
        yield
