"""Whether one cotangent is right by both oracles, and what to say if it is not."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import core

from jaxmore.testing.diagnosis import Evidence, cause_of, where
from jaxmore.testing.report import Problem

AUTODIFF = 1e-12
"""The tolerance against ``jax.vjp`` in float64, in units of the condition scale."""
DIFFERENCES = 1e-9
"""The same against differences of the forward."""
WOBBLES = 16
"""What is added to it: multiples of the change that one ulp in the inputs makes."""
KINK = 1e-3
"""Slopes to the left and to the right that differ by more than this share of the scale."""


class Judgement(NamedTuple):
    """What two oracles say about one cotangent."""

    problem: Problem | None
    note: str | None
    """That the forward has a kink there."""
    autodiff: float
    differences: float
    """Largest differences to the oracles in units of the condition scale, kinks aside."""


class Slopes(NamedTuple):
    """One input's cotangent by differences (:class:`jaxmore.testing.differences.Differences`)."""

    value: np.ndarray
    error: np.ndarray
    low: np.ndarray
    high: np.ndarray


def judge(e: Evidence, slopes: Slopes, wobble: float, casts: Callable[[], set[str]]) -> Judgement:
    """Compare a cotangent with both oracles.

    Args:
        e: the cotangent, autodiff's, and what else is known.
        slopes: the same by differences.
        wobble: how much it changes when the inputs do in their last bit.
        casts: tells the narrower dtypes to which the rule converts on its way in float64.
    """
    if e.ours.shape != e.oracle.shape:
        text = f"{e.argument}: the cotangent has shape {e.ours.shape}, not {e.oracle.shape}"
        problem = Problem("structure", text, e.argument, cause=cause_of(e))
        return Judgement(problem, None, np.inf, np.inf)
    with np.errstate(all="ignore"):
        margin = DIFFERENCES * e.scale + 4 * slopes.error
        kinks = slopes.high - slopes.low > KINK * e.scale + 8 * slopes.error
        between = (slopes.low - margin <= e.ours) & (e.ours <= slopes.high + margin)
        excused = kinks & between
        off_autodiff = np.where(excused, 0, np.abs(e.ours - e.oracle))
        off_differences = np.where(excused, 0, np.abs(e.ours - slopes.value))
        by_autodiff = ~(off_autodiff <= AUTODIFF * e.scale + WOBBLES * wobble)
        by_differences = ~(off_differences <= margin)
        oracles_differ = bool((~kinks & (np.abs(e.oracle - slopes.value) > margin)).any())
    note = problem = None
    if excused.any():
        count = f"{excused.sum()} element{'s' if excused.sum() > 1 else ''}"
        note = f"{e.argument}: the forward has a kink at {count}; any slope between is right"
    if by_autodiff.any():
        cause = cause_of(e) or _cast(e, casts())
        if oracles_differ and not by_differences.any():
            cause = (
                "differences of the forward agree with bwd: the forward defines its own gradient, "
                "or XLA compiles one of them wrong"
            )
        problem = _problem("autodiff", e, e.oracle, by_autodiff, cause)
    elif by_differences.any():
        cause = (
            "jax.vjp agrees with bwd: the forward stops or defines its gradient, or XLA compiles "
            "one of them wrong"
        )
        problem = _problem("differences", e, slopes.value, by_differences, cause)
    return Judgement(problem, note, share(off_autodiff, e.scale), share(off_differences, e.scale))


def share(off: np.ndarray, scale: float) -> float:
    """The largest of the errors in units of a scale; NaN if one is NaN."""
    largest = float(np.abs(off).max(initial=0))
    return largest / scale if largest and scale else largest


def _problem(
    check: str, e: Evidence, oracle: np.ndarray, wrong: np.ndarray, cause: str | None
) -> Problem:
    off = np.where(wrong, np.abs(e.ours - oracle), -1.0)
    index = worst(off)
    ours, right = float(e.ours[index]), float(oracle[index])
    relative = abs(ours - right) / abs(right) if right and np.isfinite(ours) else None
    place = f"{e.argument}{bracketed(index)}"
    text = f"{e.argument}: {where(wrong)}; worst at {place}: {ours:.9g} in place of {right:.9g}"
    if relative is not None:
        text += f" (relative error {relative:.1g})"
    return Problem(check, text, e.argument, index, ours, right, relative, cause)


def _cast(e: Evidence, casts: set[str]) -> str | None:
    """A narrowing conversion, if the errors are of the size of its rounding."""
    off = np.abs(e.ours - e.oracle).max()
    for dtype in casts:
        eps = float(jax.numpy.finfo(dtype).eps)
        if len(casts) == 1 and off <= 8 * eps * e.scale:
            return f"float64 values are converted to {dtype} on the way"
    return None


def casts_in(function: Any, *args: Any) -> set[str]:
    """The narrower float dtypes to which a function converts float64 values, calls unfolded."""
    found: set[str] = set()

    def walk(graph: Any) -> None:
        for equation in graph.eqns:
            if equation.primitive.name == "convert_element_type":
                old = str(equation.invars[0].aval.dtype)
                new = str(equation.params["new_dtype"])
                if old == "float64" and new in ("float32", "bfloat16", "float16"):
                    found.add(new)
            for value in equation.params.values():
                for inner in value if isinstance(value, tuple) else (value,):
                    if isinstance(inner, core.ClosedJaxpr):
                        walk(inner.jaxpr)
                    elif isinstance(inner, core.Jaxpr):
                        walk(inner)

    walk(jax.make_jaxpr(function)(*args).jaxpr)
    return found


def worst(off: np.ndarray) -> tuple[int, ...]:
    """The index of the largest element; a NaN is larger than any number."""
    flat = int(np.where(np.isnan(off), np.inf, off).argmax())
    return tuple(int(i) for i in np.unravel_index(flat, off.shape))


def bracketed(index: tuple[int, ...]) -> str:
    """An index as one writes it; nothing for that of a scalar.

    >>> bracketed((2, 0)), bracketed(())
    ('[2, 0]', '')
    """
    return f"[{', '.join(map(str, index))}]" if index else ""
