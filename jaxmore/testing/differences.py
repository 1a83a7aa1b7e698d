"""The oracle that shares no code with autodiff: differences of the forward in float64."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

EXPONENTS = (-4.0, -7.0, -10.0, -13.0, -16.0, -19.0, -22.0)
"""Step sizes as powers of two, from coarse to fine, relative to the size of an element."""
FINER = 2.0**-18
"""Where those do not settle, or cross a kink, the sizes are multiplied by this."""
KINK = 1e-3
"""Slopes to the left and right that differ by more than this share are those of a kink."""
CHUNK = 32
"""How many elements are moved at once, at most."""
BYTES = 2**27
"""How much memory the moved arguments and outputs may take, about."""


class Differences(NamedTuple):
    """For each input, arrays of its shape: <dy, ∂y/∂x> by differences.

    NaN stands for an element that was not moved, or where the forward gives no numbers.
    """

    value: list[np.ndarray]
    error: list[np.ndarray]
    """An estimate of the error of ``value``."""
    magnitude: list[np.ndarray]
    """The sum over |dy ∂y/∂x|."""
    low: list[np.ndarray]
    high: list[np.ndarray]
    """The slopes to the left and to the right, the smaller first."""


class _Steps(NamedTuple):
    """What one ladder of steps gives for some elements: arrays (steps, elements)."""

    central: np.ndarray
    rounding: np.ndarray
    left: np.ndarray
    right: np.ndarray
    magnitude: np.ndarray


class _Estimate(NamedTuple):
    """The best that a ladder of steps says: arrays (elements,)."""

    value: np.ndarray
    error: np.ndarray
    magnitude: np.ndarray
    left: np.ndarray
    right: np.ndarray
    one_sided_error: np.ndarray


def central_differences(
    function: Callable[..., Any],
    inputs: Sequence[Any],
    cotangent: Any,
    goals: Sequence[Any] | None = None,
    elements: np.ndarray | None = None,
) -> Differences:
    """Five-point central differences, each element at the step size where they settle.

    For f' at step h: (8 (f(x+h) − f(x−h)) − (f(x+2h) − f(x−2h))) / 12h, with error h⁴ f⁽⁵⁾/30
    from the series and ε|f|/h from rounding. Coarse steps suffer from the first, fine ones from
    the second; the estimate is taken where two neighbouring step sizes agree best, and its error
    is how far they agree, or the rounding if that is more.

    Steps are first relative to the element itself, so that no step leaves the domain of a
    logarithm. Where these are lost in rounding they become relative to a typical element; where
    slopes do not settle, or differ to the left and right, finer steps follow. A kink is where they
    still differ: a forward that is smooth at x but not near it has none.

    Args:
        function: of float64 arrays alone, with a tree of float64 arrays as its value.
        inputs: the arrays.
        cotangent: a tree like the value.
        goals: the error that is small enough, for each element of each input; by default 0.
        elements: flat indices of the elements to move, counted over all inputs; by default all.

    Source: Fornberg, Generation of finite difference formulas (1988); for the choice of the
    step Numerical Recipes (2007), section 5.7.
    """
    arrays = [np.asarray(x, "float64") for x in inputs]
    shapes, n = tuple(a.shape for a in arrays), sum(a.size for a in arrays)
    point = np.concatenate([np.ravel(a) for a in arrays]) if arrays else np.zeros(0)
    elements = np.arange(n) if elements is None else elements
    elements = elements[np.isfinite(point[elements])]
    result = np.full((5, n), np.nan)
    result[1] = np.inf
    if len(elements):
        typical = np.concatenate([np.full(a.size, _typical(a)) for a in arrays])[elements]
        at = np.abs(point[elements])
        size = np.where(at > 0, np.clip(at, 1e-290, 1e290), np.minimum(1, typical))
        goal = np.zeros(n) if goals is None else np.concatenate([np.ravel(g) for g in goals])
        goal = np.nan_to_num(goal, nan=0, posinf=0)[elements]
        move = partial(_move, function, shapes, point, cotangent, np.maximum(size, typical))
        result[:, elements] = _settle(move, elements, size, typical, goal)
    bounds = np.cumsum([a.size for a in arrays])[:-1]
    return Differences(
        *(
            [a.reshape(s) for a, s in zip(np.split(flat, bounds), shapes, strict=True)]
            for flat in result
        )
    )


def _settle(
    move: Callable[..., _Steps],
    elements: np.ndarray,
    size: np.ndarray,
    typical: np.ndarray,
    goal: np.ndarray,
) -> np.ndarray:
    """Try ladders of steps until each element settles. Returns (5, elements)."""
    everything = np.arange(len(elements))
    best = _best(move(everything, elements, size))

    def worse(which: np.ndarray) -> np.ndarray:
        small = np.maximum(goal[which], 1e-9 * np.nan_to_num(best.magnitude[which]))
        return which[~(best.error[which] <= small)]

    def take(which: np.ndarray, other: _Estimate, better: np.ndarray) -> None:
        for mine, theirs in zip(best, other, strict=True):
            mine[which[better]] = theirs[better]

    again = worse(everything[(typical > 4 * size) | (typical < size / 4)])
    if len(again):
        other = _best(move(again, elements[again], typical[again]))
        take(again, other, ~(best.error[again] <= other.error))
    kinks = everything[_bent(best)]
    again = np.union1d(worse(everything), kinks).astype(int)
    if len(again):
        other = _best(move(again, elements[again], size[again] * FINER))
        # Where the coarser steps crossed a kink their agreement means nothing.
        take(again, other, np.isin(again, kinks) | ~(best.error[again] <= other.error))
    bent = _bent(best)
    low, high = np.minimum(best.left, best.right), np.maximum(best.left, best.right)
    low, high = np.where(bent, low, best.value), np.where(bent, high, best.value)
    return np.stack([best.value, best.error, best.magnitude, low, high])


def _bent(e: _Estimate) -> np.ndarray:
    """Whether the slopes to the left and right differ at the finest step that shows it."""
    size = np.maximum(np.abs(e.left), np.abs(e.right))
    return np.abs(e.right - e.left) > KINK * size + 8 * e.one_sided_error


def _best(steps: _Steps) -> _Estimate:
    """Pick the step size where two neighbouring ones agree best."""
    central, rounding = steps.central, steps.rounding
    noise = rounding[:-1] + rounding[1:]
    change = np.abs(np.diff(central, axis=0))
    gaps = np.maximum(change, noise)
    # A slope that grows with every finer step is that of a step function, seen from afar.
    grows = (np.abs(central[1:]) >= 2 * np.abs(central[:-1])) & (change > 8 * noise)
    gaps = np.where(grows | np.isnan(gaps), np.inf, gaps)
    columns = np.arange(central.shape[1])
    picked = gaps.argmin(0) + 1
    # One-sided slopes: the finest step that rounding leaves three digits of.
    size = np.maximum(np.abs(steps.left), np.abs(steps.right))
    clear = rounding <= 1e-4 * size
    finest = len(central) - 1 - clear[::-1].argmax(0)
    finest = np.where(clear.any(0), finest, len(central) - 1)
    return _Estimate(
        np.where(np.isinf(gaps.min(0)), np.nan, central[picked, columns]),
        gaps.min(0),
        steps.magnitude[picked, columns],
        steps.left[finest, columns],
        steps.right[finest, columns],
        rounding[finest, columns],
    )


def _move(
    function: Callable[..., Any],
    shapes: tuple[tuple[int, ...], ...],
    point: np.ndarray,
    cotangent: Any,
    coarse: np.ndarray,
    which: np.ndarray,
    elements: np.ndarray,
    size: np.ndarray,
) -> _Steps:
    """Move each element by a ladder of steps; in chunks of one shape, compiled once."""
    floats = len(point) + sum(d.size for d in jax.tree.leaves(cotangent))
    n = int(np.clip(BYTES // (30 * 8 * floats), 1, min(CHUNK, len(coarse))))
    parts: list[np.ndarray] = []
    for start in range(0, len(elements), n):
        chunk = slice(start, start + n)
        rows = [elements[chunk], size[chunk], coarse[which[chunk]]]
        count = len(rows[0])
        padded = [np.resize(row, n) for row in rows]
        parts.append(np.asarray(_slopes(function, shapes, point, *padded, cotangent))[:count])
    return _Steps(*np.moveaxis(np.concatenate(parts), (0, 2), (2, 0)))


@partial(jax.jit, static_argnums=(0, 1))
def _slopes(
    function: Callable[..., Any],
    shapes: tuple[tuple[int, ...], ...],
    point: Any,
    elements: Any,
    sizes: Any,
    coarse: Any,
    cotangent: Any,
) -> Any:
    """(elements, steps, 5): the fields of :class:`_Steps` for each element."""
    middle = _call(function, shapes, point)
    offsets = jnp.array([-2.0, -1.0, 1.0, 2.0])

    def of_element(i: Any, size: Any, coarse: Any) -> Any:
        # Powers of two, so that x + h loses no bits of h where x is of the size of h's.
        steps = jnp.exp2(jnp.round(jnp.log2(size)) + jnp.array(EXPONENTS))
        moves = jnp.concatenate([(steps[:, None] * offsets).ravel(), coarse * offsets[1:3] / 16])
        moved = jax.vmap(lambda step: _call(function, shapes, point.at[i].add(step)))(moves)
        total = jnp.zeros((len(EXPONENTS), 5))
        for y, y0, dy in zip(*map(jax.tree.leaves, (moved, middle, cotangent)), strict=True):
            h = steps.reshape(-1, *[1] * y0.ndim)
            # What does not depend on x cancels before it meets dy, and has no rounding either.
            depends = (y != y0).any(0)
            y = y[:-2].reshape(len(EXPONENTS), 4, *y0.shape)
            central = (8 * (y[:, 2] - y[:, 1]) - (y[:, 3] - y[:, 0])) / (12 * h)
            eps = jnp.finfo(y.dtype).eps
            rounding = eps * (jnp.where(depends, jnp.abs(y0), 0) + jnp.abs(central * point[i])) / h
            left, right = (y0 - y[:, 1]) / h, (y[:, 2] - y0) / h
            size = jnp.abs(dy)
            terms = [dy * central, size * rounding, dy * left, dy * right, size * jnp.abs(central)]
            axes = tuple(range(1, y0.ndim + 1))
            total += jnp.stack([term.sum(axes) for term in terms], axis=-1)
        return total

    return jax.vmap(of_element)(elements, sizes, coarse)


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
    central, rounding = np.moveaxis(np.stack(slopes), (1, 2), (2, 0))[..., :]
    gaps = np.maximum(np.abs(np.diff(central, axis=1)), rounding[:, :-1] + rounding[:, 1:])
    gaps = np.where(np.isnan(gaps), np.inf, gaps)
    picked = gaps.argmin(1)
    rows = np.arange(len(directions))
    return central[rows, picked + 1], gaps[rows, picked]


@partial(jax.jit, static_argnums=(0, 1))
def _along(
    function: Callable[..., Any],
    shapes: tuple[tuple[int, ...], ...],
    point: Any,
    direction: Any,
    cotangent: Any,
) -> Any:
    """(2, steps): the slope along a direction, and its rounding."""
    middle = _call(function, shapes, point)

    def at(h: Any) -> Any:
        total = jnp.zeros(2)
        y = [_call(function, shapes, point + k * h * direction) for k in (-2, -1, 1, 2)]
        leaves = [jax.tree.leaves(tree) for tree in (*y, middle, cotangent)]
        for a, b, c, d, y0, dy in zip(*leaves, strict=True):
            slope = (8 * (c - b) - (d - a)) / (12 * h)
            rounding = jnp.finfo(y0.dtype).eps * jnp.linalg.norm(jnp.ravel(dy * y0)) / h
            total += jnp.stack([(dy * slope).sum(), rounding])
        return total

    return jax.lax.map(at, jnp.exp2(jnp.array([-7.0, -10.0, -13.0]))).T


def complex_step(
    function: Callable[..., Any], inputs: Sequence[Any], cotangent: Any
) -> list[np.ndarray] | None:
    """Im f(x + ih) / h with a tiny h: no difference is taken, so no digit is lost.

    It holds for analytic functions alone (not for abs or a maximum over complex numbers), so the
    caller compares it with :func:`central_differences` first.

    Args:
        function: as in :func:`central_differences`.
        inputs: float64 arrays.
        cotangent: a tree like the value.

    Returns:
        The cotangents; None where the function takes no complex numbers.

    Source: Squire & Trapp, Using complex variables to estimate derivatives of real functions
    (SIAM Review 1998).
    """
    shapes = tuple(x.shape for x in inputs)
    point = np.concatenate([np.ravel(x) for x in inputs]).astype(np.complex128)
    try:
        flat = np.asarray(_complex_slopes(function, shapes, jnp.asarray(point), cotangent))
    except Exception:  # whatever a user's forward raises on complex numbers
        return None
    bounds = np.cumsum([x.size for x in inputs])[:-1]
    return [a.reshape(s) for a, s in zip(np.split(flat, bounds), shapes, strict=True)]


@partial(jax.jit, static_argnums=(0, 1))
def _complex_slopes(
    function: Callable[..., Any],
    shapes: tuple[tuple[int, ...], ...],
    point: Any,
    cotangent: Any,
) -> Any:
    def slope(i: Any) -> Any:
        h = jnp.maximum(jnp.abs(point[i]), 1e-150) * 2.0**-100
        values = jax.tree.leaves(_call(function, shapes, point.at[i].add(1j * h)))
        terms = zip(values, jax.tree.leaves(cotangent), strict=True)
        return sum(((jnp.imag(y) / h) * dy).sum() for y, dy in terms)

    n = point.size
    indices = jnp.arange(n if n <= CHUNK else -(-n // CHUNK) * CHUNK)
    return jax.lax.map(slope, indices, batch_size=CHUNK)[:n]


def _call(function: Callable[..., Any], shapes: Sequence[tuple[int, ...]], point: Any) -> Any:
    bounds = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    parts = jnp.split(point, bounds)
    return function(*[part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)])


def _typical(x: np.ndarray) -> float:
    """The median of the absolute values that are neither zero nor infinite; else 1."""
    sizes = np.abs(x[np.isfinite(x) & (x != 0)])
    return float(np.clip(np.median(sizes), 1e-290, 1e290)) if sizes.size else 1.0
