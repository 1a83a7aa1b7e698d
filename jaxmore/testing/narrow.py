"""Whether the cotangents keep a narrower dtype, and are as good as it allows."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmore.errors import describe
from jaxmore.testing import oracles
from jaxmore.testing.case import NARROW, Case, all_numpy, to_numpy
from jaxmore.testing.contract import check_primal
from jaxmore.testing.diagnosis import where
from jaxmore.testing.judgement import ILL_CONDITIONED, bracketed, difference, share, worst
from jaxmore.testing.oracles.compiled import jit_quickly
from jaxmore.testing.oracles.differences import central_differences
from jaxmore.testing.oracles.kinks import NEARBY, judge_at_kinks
from jaxmore.testing.oracles.sampling import sample

STEP = 2.0**-30
"""By how much inputs change to measure what a rounding error of theirs does."""


def check_narrow(case: Case, dtype: str) -> None:
    """Compare the rule in a narrower dtype with float64 on the same inputs.

    The rule runs with x64 off, as it does in its user's process: there ``np.sqrt(2.0)`` and
    ``np.array([1.0])`` do not widen float32.
    """
    narrow = tuple(round_to(x, dtype) for x in case.leaves.floats)
    with jax.enable_x64(False), np.errstate(over="ignore"):  # a constant that overflows float16
        results = _run(case, dtype, narrow)
    if results is not None and case.leaves.has_keys:
        # What jax.random draws from a key depends on x64, so compare with the truth's draws.
        results = _run(case, dtype, narrow, as_truth=True)
    if results is None:
        return
    with jax.enable_x64(case.leaves.has_keys):
        dy, (plain, y, ours, autodiffs) = results
        if not all(np.isfinite(to_numpy(a)).all() for a in [*narrow, *case.floats_of(plain)]):
            case.report.notes.append(f"{dtype}: the forward overflows; not checked")
            return
        check_primal(case, plain, y)
    ours, autodiffs = all_numpy(ours), all_numpy(autodiffs)
    wide = tuple(np.asarray(x, "float64") for x in narrow)
    # A forward that rounds to float32 by itself keeps doing so in float64.
    wide_dy = [
        np.asarray(d).astype(y.dtype)
        for d, y in zip(dy, jax.eval_shape(case.plain, *wide), strict=True)
    ]
    truth, scales = _truth(case, wide, wide_dy)
    info = jnp.finfo(dtype)
    least = float(info.tiny) * max(1.0, *(np.abs(d).max(initial=0) for d in wide_dy))
    units = _units(case, wide, wide_dy, truth, scales, float(info.eps))
    off = [_off(d, right, least, info) for d, right in zip(ours, truth, strict=True)]
    theirs = [_off(d, right, least, info) for d, right in zip(autodiffs, truth, strict=True)]
    limits = [_limits(*pair, float(info.eps)) for pair in zip(theirs, units, strict=True)]
    off = _without_kinks(case, dtype, wide, wide_dy, ours, scales, off, limits)
    for i, name in enumerate(case.leaves.float_names):
        judged = np.isfinite(truth[i]) & (np.abs(truth[i]) <= float(info.max))
        if not judged.all():
            _note_unjudged(case, dtype, name, truth[i], judged)
        if not judged.any() and judged.size:
            continue
        error = share(off[i], units[i])
        case.report.rows[i].narrow[dtype] = error
        wrong = ~(off[i] <= limits[i])
        if wrong.any():
            index = worst(np.where(wrong, off[i] / np.maximum(units[i], least), -1))
            text = (
                f"{name}: in {dtype} {where(wrong)} off, worst at {name}{bracketed(index)}: "
                f"{ours[i][index]:.6g} in place of {truth[i][index]:.6g}, "
                f"{_in_eps(off[i][index], units[i][index])}"
            )
            if not case.without_autodiff:
                text += f" (autodiff: {_in_eps(theirs[i][index], units[i][index])})"
            case.add("dtypes", text + "; are sums taken in float32?", name)
    case.stop_if_wrong()


def _truth(
    case: Case, floats: tuple[np.ndarray, ...], dy: Sequence[Any]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the float64 cotangents and their condition scales, by what can speak.

    Autodiff where it can reverse the forward, else differences, which are exact enough for a
    narrow dtype.
    """
    truth, scales = case.truth(floats, dy)
    if case.without_autodiff and sample(case.plain, floats) is None:
        found = central_differences(case.plain, floats, dy)
        return found.value, found.magnitude
    sizes = [np.full(t.shape, np.nan_to_num(np.abs(t)).max(initial=0)) for t in truth]
    return truth, [np.where(np.isfinite(s), s, size) for s, size in zip(scales, sizes, strict=True)]


def _note_unjudged(
    case: Case, dtype: str, name: str, truth: np.ndarray, judged: np.ndarray
) -> None:
    """Note the elements that a narrow dtype cannot hold, or that have no gradient."""
    why = "no oracle gives a number" if np.isnan(truth).any() else "the cotangent overflows"
    count = "" if not judged.any() else f" at {(~judged).sum()} of its elements"
    case.report.notes.append(f"{dtype}: {name} is not checked{count}: {why}")


def round_to(x: Any, dtype: str) -> Any:
    """Round an array to a narrower dtype.

    What is too small for it becomes its smallest normal number, not zero: XLA takes subnormal
    numbers as zero, and zero may lie outside the forward's domain.
    """
    wide = np.asarray(x, "float64")
    tiny = float(jnp.finfo(dtype).tiny)
    kept = np.where((wide != 0) & (np.abs(wide) < tiny), np.copysign(tiny, wide), wide)
    with np.errstate(over="ignore"):
        return jnp.asarray(kept.astype(dtype))


def _run(case: Case, dtype: str, narrow: tuple[Any, ...], as_truth: bool = False) -> Any:
    """Run the rule, the plain forward and autodiff. None where the forward has no such dtype."""
    try:
        shapes = jax.eval_shape(case.plain, *narrow)
    except Exception as error:  # whatever a user's forward raises
        _forward_fails(case, dtype, error)
        return None
    # All of one sign: a narrow accumulator loses most in a sum of such terms.
    pairs = zip(case.dys[0], shapes, strict=True)
    dy = [jnp.asarray(np.abs(np.asarray(d, "float64")), y.dtype) for d, y in pairs]

    @jit_quickly
    def everything(narrow: Any, dy: Any) -> tuple[Any, ...]:
        ours = case.pull_back(narrow, dy)
        plain, y = case.whole(*narrow), case.rule_fwd(*narrow)[0]
        if case.without_autodiff:
            return plain, y, ours, ours
        return plain, y, ours, oracles.cotangents(case.plain, narrow, dy)

    try:
        return dy, everything(narrow, dy)
    except Exception as error:
        if as_truth:
            _forward_fails(case, dtype, error)
            return None
        try:  # whose fault it is
            jax.jit(partial(oracles.cotangents, case.plain))(narrow, dy)
        except Exception as error:
            _forward_fails(case, dtype, error)
            return None
        return dy, case.attempt("dtypes", f"in {dtype}", everything, narrow, dy)


def _forward_fails(case: Case, dtype: str, error: Exception) -> None:
    case.report.notes.append(f"{dtype}: not checked: the forward fails there ({describe(error)})")


def _units(
    case: Case,
    floats: Sequence[np.ndarray],
    dy: Sequence[np.ndarray],
    truth: Sequence[np.ndarray],
    scales: Sequence[np.ndarray],
    eps: float,
) -> list[np.ndarray]:
    """Return what one eps is worth at each element.

    That is eps of the element's condition scale, plus what a change of the inputs by one eps does
    to it: the forward's values are rounded, too.
    """
    if case.sways is None or case.leaves.has_keys:  # what is drawn depends on the dtype
        case.sways = _sways(case, floats, dy, truth, scales)
    sizes = [np.nan_to_num(s, nan=0, posinf=0) for s in scales]
    return [eps * (size + sway) for size, sway in zip(sizes, case.sways, strict=True)]


def _sways(
    case: Case,
    floats: Sequence[np.ndarray],
    dy: Sequence[np.ndarray],
    truth: Sequence[np.ndarray],
    scales: Sequence[np.ndarray],
) -> list[np.ndarray]:
    """Measure how much each cotangent moves with the inputs, relative to their change."""
    sways = [np.zeros(t.shape) for t in truth]
    if case.without_autodiff:
        return sways
    for _ in range(1 if case.report.sampled else 2):
        signs = [case.random.choice([-STEP, STEP], x.shape) for x in floats]
        near = tuple(x * (1 + sign) for x, sign in zip(floats, signs, strict=True))
        for sway, a, b, scale in zip(sways, _truth(case, near, dy)[0], truth, scales, strict=True):
            moved = difference(a, b, unknown=0)
            sway += np.where(moved <= ILL_CONDITIONED * scale, moved / STEP, 0)
    return sways


def _limits(theirs: np.ndarray, unit: np.ndarray, eps: float) -> np.ndarray:
    """Return the error that each element is allowed, from that of autodiff in the same dtype."""
    typical = share(np.where(unit > 0, theirs, 0), unit)
    # Where autodiff is off by a quarter of the scale it excuses itself alone.
    allowed = max(NARROW, min(4 * typical, 1 / (4 * eps)))
    return np.maximum(allowed * unit, 4 * theirs)


def _off(d: np.ndarray, right: np.ndarray, least: float, info: Any) -> np.ndarray:
    """Return the error of each element beyond ``least``: numbers below the normal ones are lost.

    0 where the right value is not a number of this dtype.
    """
    with np.errstate(all="ignore"):
        off = np.maximum(np.abs(d - right) - least, 0)
        off = np.where(np.isnan(off), np.inf, off)
        return np.where(np.abs(right) <= float(info.max), off, 0)


def _in_eps(off: float, unit: float) -> str:
    return f"off by {off / unit:.0f} eps" if unit > 0 and off < 1e6 * unit else f"off by {off:.2g}"


def _without_kinks(
    case: Case,
    dtype: str,
    floats: Any,
    dy: Any,
    ours: list[np.ndarray],
    scales: list[np.ndarray],
    off: list[np.ndarray],
    limits: list[np.ndarray],
) -> list[np.ndarray]:
    """Set the errors of right slopes at kinks to zero."""
    wrong = [~(o <= limit) for o, limit in zip(off, limits, strict=True)]
    if case.without_autodiff or not any(w.any() for w in wrong):
        return off
    agrees = [~w for w in wrong]
    eps = float(jnp.finfo(dtype).eps)
    gradient = partial(case.gradient, dy=dy)
    # Within the rounding of the inputs, the forward in this dtype may lie on either side.
    found = judge_at_kinks(
        gradient, floats, ours, scales, wrong, agrees, NARROW * eps, max(NEARBY, 4 * eps)
    )
    for name, unseen in zip(case.leaves.float_names, found.unseen, strict=True):
        if unseen.any():
            text = f"{dtype}: {unseen.sum()} elements of {name}: too many kinks to look at each"
            case.report.unjudged.append(text)
    masks = zip(off, found.right, found.unseen, strict=True)
    return [np.where(right | unseen, 0, o) for o, right, unseen in masks]
