"""The forward at points moved along one input element, or along a direction."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmore.testing.oracles.compiled import jit_quickly

EXPONENTS = (-4.0, -7.0, -10.0, -13.0, -16.0, -19.0, -22.0)
"""Step sizes as powers of two, from coarse to fine, relative to the size of an element."""
FEW_EXPONENTS = (-14.0,)
"""The same where one run of the forward is expensive and only a sample of elements is moved. The
error is then told by the three-point formula at the same step."""
CHUNK = 32
"""How many elements are moved at once, at most."""
BYTES = 2**27
"""How much memory the moved arguments and outputs may take, about."""


class Steps(NamedTuple):
    """What one ladder of steps gives for some elements: arrays (steps, elements)."""

    central: np.ndarray
    rounding: np.ndarray
    left: np.ndarray
    right: np.ndarray
    magnitude: np.ndarray


def move(
    function: Callable[..., Any],
    shapes: tuple[tuple[int, ...], ...],
    point: np.ndarray,
    cotangent: Any,
    coarse: np.ndarray,
    exponents: tuple[float, ...],
    which: np.ndarray,
    elements: np.ndarray,
    size: np.ndarray,
) -> Steps:
    """Move each element by a ladder of steps; in chunks of one shape, compiled once."""
    floats = len(point) + sum(d.size for d in jax.tree.leaves(cotangent))
    n_moves = 4 * len(exponents) + 2
    n = int(np.clip(BYTES // (8 * n_moves * floats), 1, min(CHUNK, len(coarse))))
    at_once = int(np.clip(BYTES // (16 * floats), 1, n_moves))
    compiled = _slopes_of_few if exponents == FEW_EXPONENTS else _slopes
    slopes = partial(compiled, function, shapes, exponents, at_once)
    parts: list[np.ndarray] = []
    for start in range(0, len(elements), n):
        chunk = slice(start, start + n)
        rows = [elements[chunk], size[chunk], coarse[which[chunk]]]
        count = len(rows[0])
        padded = [np.resize(row, n) for row in rows]
        parts.append(np.asarray(slopes(point, *padded, cotangent))[:count])
    return Steps(*np.moveaxis(np.concatenate(parts), (0, 2), (2, 0)))


def _at_each(
    function: Callable[..., Any],
    shapes: tuple[tuple[int, ...], ...],
    exponents: tuple[float, ...],
    at_once: int,
    point: Any,
    elements: Any,
    sizes: Any,
    coarse: Any,
    cotangent: Any,
) -> Any:
    """(elements, steps, 5): the fields of :class:`Steps` for each element."""
    middle = call(function, shapes, point)
    offsets = jnp.array([-2.0, -1.0, 1.0, 2.0])

    def of_element(i: Any, size: Any, coarse: Any) -> Any:
        # Powers of two, so that x + h loses no bits of h where x is of the size of h's.
        steps = jnp.exp2(jnp.round(jnp.log2(size)) + jnp.array(exponents))
        moves = (steps[:, None] * offsets).ravel()
        if exponents != FEW_EXPONENTS:
            moves = jnp.append(moves, coarse * offsets[1:3] / 16)

        def at(step: Any) -> Any:
            return call(function, shapes, point.at[i].add(step))

        all_at_once = at_once >= len(moves)
        moved = jax.vmap(at)(moves) if all_at_once else jax.lax.map(at, moves, batch_size=at_once)
        total = jnp.zeros((max(len(exponents), 2), 5))
        for y, y0, dy in zip(*map(jax.tree.leaves, (moved, middle, cotangent)), strict=True):
            h = steps.reshape(-1, *[1] * y0.ndim)
            # What does not depend on x cancels before it meets dy, and has no rounding either.
            depends = (y != y0).any(0)
            y = y[: 4 * len(exponents)].reshape(len(exponents), 4, *y0.shape)
            central = (8 * (y[:, 2] - y[:, 1]) - (y[:, 3] - y[:, 0])) / (12 * h)
            if exponents == FEW_EXPONENTS:
                central = jnp.concatenate([(y[:, 2] - y[:, 1]) / (2 * h), central])
            eps = jnp.finfo(y.dtype).eps
            rounding = eps * (jnp.where(depends, jnp.abs(y0), 0) + jnp.abs(central * point[i])) / h
            left, right = (y0 - y[:, 1]) / h, (y[:, 2] - y0) / h
            size = jnp.abs(dy)
            terms = [dy * central, size * rounding, dy * left, dy * right, size * jnp.abs(central)]
            axes = tuple(range(1, y0.ndim + 1))
            sums = jnp.broadcast_arrays(*(term.sum(axes) for term in terms))
            total += jnp.stack(sums, axis=-1)
        return total

    return jax.vmap(of_element)(elements, sizes, coarse)


_slopes = jit_quickly(_at_each, static_argnums=(0, 1, 2, 3))
_slopes_of_few = jax.jit(_at_each, static_argnums=(0, 1, 2, 3))
"""With LLVM's optimisation, for forwards that take longer to run than to compile."""


def directional_differences(
    function: Callable[..., Any],
    inputs: Sequence[Any],
    cotangent: Any,
    directions: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """<dy, ∂y/∂x v> for directions v, and an estimate of the error of each.

    Args:
        function: as in :func:`central_differences`.
        inputs: float64 arrays.
        cotangent: a tree like the value.
        directions: (n, elements of all inputs).
    """
    shapes = tuple(x.shape for x in inputs)
    point = np.concatenate([np.ravel(np.asarray(x)) for x in inputs])
    slopes = [
        np.asarray(_along(function, shapes, point, direction, cotangent))
        for direction in directions
    ]
    three, five, rounding = np.stack(slopes, axis=1)
    error = np.maximum(np.abs(five - three), 2 * rounding)
    return five, np.where(np.isnan(error), np.inf, error)


@partial(jit_quickly, static_argnums=(0, 1))
def _along(
    function: Callable[..., Any],
    shapes: tuple[tuple[int, ...], ...],
    point: Any,
    direction: Any,
    cotangent: Any,
) -> Any:
    """(3,): the slope along a direction by the three-point and five-point formula; its rounding."""
    h = 2.0 ** FEW_EXPONENTS[0]
    moved = [call(function, shapes, point + k * h * direction) for k in (-2, -1, 1, 2)]
    leaves = [jax.tree.leaves(y) for y in (*moved, call(function, shapes, point), cotangent)]
    total = jnp.zeros(3)
    for a, b, c, d, y0, dy in zip(*leaves, strict=True):
        three, five = (c - b) / (2 * h), (8 * (c - b) - (d - a)) / (12 * h)
        rounding = jnp.finfo(y0.dtype).eps * jnp.linalg.norm(jnp.ravel(dy * y0)) / h
        total += jnp.stack([(dy * three).sum(), (dy * five).sum(), rounding])
    return total


def call(function: Callable[..., Any], shapes: Sequence[tuple[int, ...]], point: Any) -> Any:
    """Call a function of several arrays on a flat point that holds them all."""
    bounds = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    parts = jnp.split(point, bounds)
    return function(*[part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)])
