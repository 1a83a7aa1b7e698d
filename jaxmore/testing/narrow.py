"""Whether the cotangents keep a narrower dtype, and are as good as it allows."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmore.testing import oracles
from jaxmore.testing.case import NARROW, Case, all_numpy, to_numpy
from jaxmore.testing.contract import check_primal
from jaxmore.testing.judgement import share
from jaxmore.testing.oracles.kinks import judge_at_kinks


def check_narrow(case: Case, dtype: str) -> None:
    """Compare the rule in a narrower dtype with float64 on the same inputs.

    The rule runs with x64 off, as it does in its user's process: there ``np.sqrt(2.0)`` and
    ``np.array([1.0])`` do not widen float32.
    """
    narrow = tuple(round_to(x, dtype) for x in case.leaves.floats)
    with jax.enable_x64(False):
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
    wide = tuple(jnp.asarray(x, "float64") for x in narrow)
    # A forward that rounds to float32 by itself keeps doing so in float64.
    wide_dy = [
        d.astype(y.dtype) for d, y in zip(dy, jax.eval_shape(case.plain, *wide), strict=True)
    ]
    truth, scales = case.truth(wide, wide_dy)
    off, limits = _errors(case, dtype, ours, autodiffs, truth, scales)
    off = _without_kinks(case, dtype, wide, wide_dy, ours, scales, off, limits)
    eps = float(jnp.finfo(dtype).eps)
    for i, name in enumerate(case.leaves.float_names):
        if not np.isfinite(truth[i]).any() and truth[i].size:
            case.report.notes.append(f"{dtype}: not checked: autodiff gives no number for {name}")
            continue
        if np.abs(truth[i]).max(initial=0) > float(jnp.finfo(dtype).max):
            case.report.notes.append(f"{dtype}: the cotangent of {name} overflows")
            continue
        error = share(off[i], eps * _size(scales[i]))
        case.report.rows[i].narrow[dtype] = error
        if not (off[i] <= limits[i]).all():
            text = f"{name}: in {dtype} it is off by {error:.0f} eps of its condition scale"
            if not case.without_autodiff:
                theirs = share(_off(autodiffs[i], truth[i], dtype), eps * _size(scales[i]))
                text += f" (autodiff by {theirs:.0f})"
            case.add("dtypes", text + "; are sums taken in float32?", name)
    case.stop_if_wrong()


def round_to(x: Any, dtype: str) -> Any:
    """Round an array to a narrower dtype; XLA takes its subnormal numbers as zero."""
    values = np.asarray(x).astype(dtype)
    tiny = np.asarray(jnp.finfo(dtype).tiny).astype("float64")
    return jnp.asarray(np.where(np.abs(values.astype("float64")) < tiny, 0, values), dtype)


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

    @jax.jit
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
    text = str(error).split("\n", 1)[0]
    case.report.notes.append(
        f"{dtype}: not checked: the forward fails there ({type(error).__name__}: {text})"
    )


def _errors(
    case: Case, dtype: str, ours: Any, autodiffs: Any, truth: Any, scales: Any
) -> tuple[list[np.ndarray], list[float]]:
    """Return the error of each element, and what each cotangent is allowed."""
    off, limits = [], []
    eps = float(jnp.finfo(dtype).eps)
    for mine, theirs, right, scale in zip(ours, autodiffs, truth, scales, strict=True):
        size = _size(scale)
        of_theirs = 0.0 if case.without_autodiff else _off(theirs, right, dtype).max(initial=0)
        off.append(_off(mine, right, dtype))
        limits.append(max(NARROW * eps * size, 4 * of_theirs))
    return off, limits


def _off(d: np.ndarray, right: np.ndarray, dtype: str) -> np.ndarray:
    # An error below the dtype's smallest number does not count.
    smallest = float(jnp.finfo(dtype).smallest_subnormal)
    with np.errstate(all="ignore"):
        off = np.maximum(np.abs(d - right) - smallest, 0)
    return np.where(np.isfinite(right), off, 0)


def _without_kinks(
    case: Case,
    dtype: str,
    floats: Any,
    dy: Any,
    ours: list[np.ndarray],
    scales: list[np.ndarray],
    off: list[np.ndarray],
    limits: list[float],
) -> list[np.ndarray]:
    """Set the errors of right slopes at kinks to zero."""
    wrong = [~(o <= limit) for o, limit in zip(off, limits, strict=True)]
    if case.without_autodiff or not any(w.any() for w in wrong):
        return off
    agrees = [~w for w in wrong]
    tolerance = NARROW * float(jnp.finfo(dtype).eps)
    gradient = partial(case.gradient, dy=dy)
    found = judge_at_kinks(gradient, floats, ours, scales, wrong, agrees, tolerance)
    for name, unseen in zip(case.leaves.float_names, found.unseen, strict=True):
        if unseen.any():
            text = f"{dtype}: {unseen.sum()} elements of {name}: too many kinks to look at each"
            case.report.unjudged.append(text)
    masks = zip(off, found.right, found.unseen, strict=True)
    return [np.where(right | unseen, 0, o) for o, right, unseen in masks]


def _size(scale: np.ndarray) -> float:
    return float(np.nan_to_num(scale, nan=0, posinf=0).max(initial=0))
