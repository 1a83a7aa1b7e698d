"""Whether the elements of one cotangent are right by each oracle, and what to say if not."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import core

from jaxmore.testing.diagnosis import Evidence, cause_of, where
from jaxmore.testing.report import Problem

AUTODIFF = 1e-12
"""The tolerance against ``jax.vjp`` in float64, in units of an element's condition scale."""
DIFFERENCES = 1e-9
"""The same against differences of the forward."""
WOBBLES = 16
"""What is added to the former: multiples of the change that one ulp in the inputs makes."""
SETTLED = 1e-3
"""Differences with a larger error, in units of the condition scale, judge nothing."""
DISBELIEF = 1e-6
"""How far off differences must be, in units of the condition scale, to overrule another oracle."""
ILL_CONDITIONED = 1e-4
"""A wobble of more than this share of the scale is that of a kink, and excuses nothing."""


class Slopes(NamedTuple):
    """One input's cotangent by differences; see :mod:`jaxmore.testing.oracles.differences`."""

    value: np.ndarray
    error: np.ndarray
    magnitude: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Comparison(NamedTuple):
    """One cotangent beside its two oracles, element by element."""

    off_autodiff: np.ndarray
    allowed_autodiff: np.ndarray
    autodiff_judged: np.ndarray
    """Whether autodiff gave a number."""
    off_differences: np.ndarray
    allowed_differences: np.ndarray
    differences_judged: np.ndarray
    """Whether the differences settled."""
    bent: np.ndarray
    """Whether the slopes to the left and right differ."""
    scale: np.ndarray
    """The condition scale."""

    @property
    def wrong_by_autodiff(self) -> np.ndarray:
        """Elements that autodiff calls wrong."""
        return self.autodiff_judged & ~(self.off_autodiff <= self.allowed_autodiff)

    @property
    def wrong_by_differences(self) -> np.ndarray:
        """Elements that the differences call wrong."""
        return self.differences_judged & ~(self.off_differences <= self.allowed_differences)


def compare(
    ours: np.ndarray,
    oracle: np.ndarray,
    scale: np.ndarray,
    wobble: np.ndarray,
    slopes: Slopes,
    lost: np.ndarray,
) -> Comparison:
    """Compare a cotangent with both oracles.

    Args:
        ours: the cotangent.
        oracle: autodiff's, NaN where it gives none.
        scale: the condition scale of each element.
        wobble: how much each element changes when the inputs do in their last bit.
        slopes: the cotangent by differences.
        lost: how large a slope may be that changes no output by as much as its last bit.
    """
    with np.errstate(all="ignore"):
        off, allowed = np.abs(ours - oracle), AUTODIFF * scale + WOBBLES * wobble
        by_autodiff = np.isfinite(oracle)
        margin = DIFFERENCES * scale + 4 * slopes.error
        size = np.maximum(scale, np.abs(slopes.value))
        judged = np.isfinite(slopes.value) & (4 * slopes.error <= SETTLED * size)
        judged &= ~((slopes.magnitude == 0) & (oracle != 0) & (np.abs(oracle) <= lost))
        # Where autodiff agrees a small difference is the differences' own error: what an element
        # adds to a sum may be lost in the sum's last bit.
        agreed = by_autodiff & (off <= allowed)
        lost = DIFFERENCES * scale.max(initial=0)
        margin = np.where(agreed, np.maximum(margin, DISBELIEF * size + lost), margin)
        bent = slopes.high > slopes.low
        off_differences = np.abs(ours - slopes.value)
    return Comparison(off, allowed, by_autodiff, off_differences, margin, judged, bent, scale)


def problem_of(
    e: Evidence, c: Comparison, right: np.ndarray, slopes: Slopes, casts: Callable[[], set[str]]
) -> Problem | None:
    """Return what is wrong with a cotangent, if anything.

    Args:
        e: the cotangent, autodiff's, and what else is known.
        c: how they compare.
        right: elements that are right whatever the oracles say: at kinks.
        slopes: the cotangent by differences.
        casts: returns the narrower dtypes to which the rule converts on its way in float64.
    """
    by_autodiff, by_differences = c.wrong_by_autodiff & ~right, c.wrong_by_differences & ~right
    if by_autodiff.any():
        # At a kink autodiff's slope is one of many, so a pattern beside it shows nothing.
        cause = None if (by_autodiff & c.bent).any() else cause_of(e) or _cast(e, casts())
        told = by_autodiff & c.differences_judged & ~c.bent
        if told.any() and not (told & by_differences).any():
            cause = (
                "differences of the forward agree with bwd: the forward defines its own gradient, "
                "or XLA compiles one of them wrong"
            )
        return _problem("autodiff", e, e.oracle, by_autodiff, cause)
    if by_differences.any():
        cause = cause_of(e._replace(oracle=np.where(c.differences_judged, slopes.value, e.ours)))
        if c.autodiff_judged[by_differences].all():
            cause = (
                "jax.vjp agrees with bwd: the forward stops or defines its gradient, or XLA "
                "compiles one of them wrong"
            )
        return _problem("differences", e, slopes.value, by_differences, cause)
    return None


def difference(a: np.ndarray, b: np.ndarray, unknown: float = np.nan) -> np.ndarray:
    """Return |a − b|: 0 between equal infinities and NaNs, ``unknown`` where there is no number."""
    with np.errstate(all="ignore"):
        off = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0, np.abs(a - b))
    return np.where(np.isfinite(off), off, unknown)


def share(off: np.ndarray, scale: Any) -> float:
    """Return the largest error in units of its scale; NaN if one is NaN."""
    with np.errstate(all="ignore"):
        return float(np.where(off == 0, 0, off / scale).max(initial=0))


def _problem(
    check: str, e: Evidence, oracle: np.ndarray, wrong: np.ndarray, cause: str | None
) -> Problem:
    with np.errstate(all="ignore"):
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
    off = difference(e.ours, e.oracle, unknown=0).max()
    for dtype in casts:
        eps = float(jax.numpy.finfo(dtype).eps)
        if len(casts) == 1 and off <= 8 * eps * e.scale:
            return f"float64 values are converted to {dtype} on the way"
    return None


def casts_in(function: Any, *args: Any) -> set[str]:
    """Return the narrower float dtypes to which a function converts float64 values."""
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
    """Return the index of the largest element; a NaN is larger than any number."""
    flat = int(np.where(np.isnan(off), np.inf, off).argmax())
    return tuple(int(i) for i in np.unravel_index(flat, off.shape))


def bracketed(index: tuple[int, ...]) -> str:
    """Format an index as one writes it; nothing for that of a scalar.

    >>> bracketed((2, 0)), bracketed(())
    ('[2, 0]', '')
    """
    return f"[{', '.join(map(str, index))}]" if index else ""
