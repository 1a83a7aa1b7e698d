"""The oracle that shares no code with autodiff: differences of the forward in float64."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from jaxmore.testing.oracles.moves import EXPONENTS, FEW_EXPONENTS, Steps, move

FINER = 2.0**-18
"""Where those do not settle, or cross a kink, the sizes are multiplied by this."""
KINK = 1e-3
"""Slopes to the left and right that differ by more than this share are those of a kink."""


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
    exponents = EXPONENTS if elements is None else FEW_EXPONENTS
    elements = np.arange(n) if elements is None else elements
    elements = elements[np.isfinite(point[elements])]
    result = np.full((5, n), np.nan)
    result[1] = np.inf
    if len(elements):
        typical = np.concatenate([np.full(a.size, _typical(a)) for a in arrays])[elements]
        size = np.concatenate([sizes(a).ravel() for a in arrays])[elements]
        goal = np.zeros(n) if goals is None else np.concatenate([np.ravel(g) for g in goals])
        goal = np.nan_to_num(goal, nan=0, posinf=0)[elements]
        coarse = np.maximum(size, typical)
        moved = partial(move, function, shapes, point, cotangent, coarse, exponents)
        result[:, elements] = _settle(moved, elements, size, typical, goal)
    bounds = np.cumsum([a.size for a in arrays])[:-1]
    return Differences(
        *(
            [a.reshape(s) for a, s in zip(np.split(flat, bounds), shapes, strict=True)]
            for flat in result
        )
    )


def _settle(
    move: Callable[..., Steps],
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


def _best(steps: Steps) -> _Estimate:
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


def sizes(x: np.ndarray) -> np.ndarray:
    """Return what steps are relative to: the element, or for a zero a typical one, at most 1."""
    at = np.abs(x)
    return np.where(at > 0, np.clip(at, 1e-290, 1e290), min(1, _typical(x)))


def _typical(x: np.ndarray) -> float:
    """The median of the absolute values that are neither zero nor infinite; else 1."""
    sizes = np.abs(x[np.isfinite(x) & (x != 0)])
    return float(np.clip(np.median(sizes), 1e-290, 1e290)) if sizes.size else 1.0
