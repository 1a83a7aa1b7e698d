"""Whether every cotangent equals autodiff's and that of differences."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxmore.testing.case import Case, all_numpy, to_numpy
from jaxmore.testing.diagnosis import Evidence
from jaxmore.testing.judgement import (
    DIFFERENCES,
    DISBELIEF,
    ILL_CONDITIONED,
    SETTLED,
    Comparison,
    Slopes,
    bracketed,
    casts_in,
    compare,
    difference,
    problem_of,
    share,
)
from jaxmore.testing.modes import disagreement
from jaxmore.testing.oracles.complex_step import complex_step
from jaxmore.testing.oracles.differences import central_differences, sizes
from jaxmore.testing.oracles.kinks import AtKinks, judge_at_kinks
from jaxmore.testing.oracles.moves import directional_differences
from jaxmore.testing.oracles.sampling import sample
from jaxmore.testing.report import Problem, Row


def check_values(case: Case) -> None:
    """Compare every cotangent, element by element, with both oracles."""
    floats, names, dy = case.leaves.floats, case.leaves.float_names, case.dys[0]
    ours = all_numpy(case.jitted[0])
    for i, (name, x, d) in enumerate(zip(names, floats, ours, strict=True)):
        if d.shape != x.shape:
            right = case.gradient(floats, dy)
            others = {n: o for n, o in zip(names, right, strict=True) if n != name}
            case.wrong_shape(_evidence(case, name, d, right[i], others, np.abs(right[i])))
    case.stop_if_wrong()
    oracle, scales = case.truth(floats, dy)
    slopes, sampled = _slopes(case, scales)
    if case.without_scales:  # those of the outputs alone, and the size of the whole
        scales = [_estimated(o, s) for o, s in zip(oracle, slopes, strict=True)]
    scales = [
        np.where(np.isfinite(a), a, np.nan_to_num(np.fmax(np.abs(s.low), np.abs(s.high)), posinf=0))
        for a, s in zip(scales, slopes, strict=True)
    ]
    second = scales if case.without_scales or sampled else case.truth(floats, case.dys[1])[1]
    second = [np.where(np.isfinite(b), b, a) for a, b in zip(scales, second, strict=True)]
    case.scales = [scales, second]
    case.wobbles = wobbles = _sensitivity(case, scales, 1 if sampled else 3)
    compared = [
        compare(*arrays)
        for arrays in zip(ours, oracle, scales, wobbles, slopes, _lost(case), strict=True)
    ]
    skip = case.rule.skip
    compared = [
        c._replace(
            autodiff_judged=c.autodiff_judged & ("autodiff" not in skip),
            differences_judged=c.differences_judged & ("differences" not in skip),
        )
        for c in compared
    ]
    excused, unseen = _excused(case, ours, scales, compared)
    casts = partial(casts_in, case.pull_back, floats, dy)
    for i, (name, c) in enumerate(zip(names, compared, strict=True)):
        others = {n: o for n, o in zip(names, oracle, strict=True) if n != name}
        evidence = _evidence(case, name, ours[i], oracle[i], others, scales[i])
        problem = problem_of(evidence, c, excused[i] | unseen[i], slopes[i], casts)
        if problem:
            case.report.problems.append(problem)
        _describe(case, name, c, excused[i], unseen[i], sampled)
    if sampled:
        _along_directions(case, ours, scales)
    eager = disagreement(case, "eager", case.eager, case.jitted[0])
    # If the compiled rule differs from the one that was written, no oracle can judge it. (A cast
    # to a narrower dtype also makes them differ.)
    if eager and not casts():
        case.report.problems[:] = eager
    case.stop_if_wrong()


def _evidence(
    case: Case,
    name: str,
    ours: np.ndarray,
    oracle: np.ndarray,
    others: dict[str, np.ndarray],
    scale: np.ndarray,
) -> Evidence:
    arrays = zip(case.leaves.names, case.leaves.arrays, strict=True)
    inputs = {
        name: to_numpy(a)
        for name, a in arrays
        if a is not None and not jnp.issubdtype(a.dtype, jax.dtypes.prng_key)
    }
    ys, dys = all_numpy(case.floats_of(case.y)), all_numpy(case.dys[0])
    return Evidence(name, ours, oracle, _largest(scale), inputs, dys, ys, others)


def _describe(
    case: Case,
    name: str,
    c: Comparison,
    excused: np.ndarray,
    unseen: np.ndarray,
    sampled: bool,
) -> None:
    """Add the row of one argument, and notes on its kinks and on what nobody judged."""
    notes, size, skipped = case.report.notes, max(excused.size, 1), excused | unseen
    # An element without a scale of its own is a zero by identity: it is seen beside the largest.
    scale = np.where(c.scale > 0, c.scale, _largest(c.scale))
    by, near = c.autodiff_judged & ~skipped, c.differences_judged & ~skipped
    errors = share(c.off_autodiff[by], scale[by]), share(c.off_differences[near], scale[near])
    by_autodiff = float((c.autodiff_judged | excused).sum() / size)
    by_differences = float((c.differences_judged | excused).sum() / size)
    if not excused.size:
        by_autodiff = by_differences = 1.0
    row = Row(name, excused.shape, *errors, {}, by_autodiff, by_differences)
    case.report.rows.append(row)
    if excused.any():
        count = f"{excused.sum()} element{'s' if excused.sum() > 1 else ''}"
        notes.append(f"{name}: the forward has a kink at {count}; any slope between is right")
    no_number = ~(c.autodiff_judged | c.differences_judged | excused)
    for places, reason in (
        (no_number, "neither autodiff nor differences give a number there"),
        (unseen, "there are too many kinks to look at each"),
    ):
        if places.any() and not {"autodiff", "differences"} <= case.rule.skip:
            case.report.unjudged.append(f"{name}{_listed(places)}: {reason}")
    if sampled and not case.report.sampled:
        case.report.sampled = True
        notes.append("differences: a sample of the elements, and random directions, to save time")


def _listed(places: np.ndarray) -> str:
    """Format the first indices of a mask."""
    first = ", ".join(bracketed(tuple(map(int, i))) for i in np.argwhere(places)[:3])
    return first + (f" and {places.sum() - 3} more" if places.sum() > 3 else "")


def _excused(
    case: Case, ours: list[np.ndarray], scales: list[np.ndarray], compared: list[Comparison]
) -> AtKinks:
    """Find the elements that the oracles call wrong, but that are right slopes at a kink."""
    wrong = [c.wrong_by_autodiff | c.wrong_by_differences for c in compared]
    if not any(w.any() for w in wrong) or case.without_autodiff:
        between = [_between(c) & w for c, w in zip(compared, wrong, strict=True)]
        return AtKinks(between, [np.zeros_like(w) for w in wrong])
    agrees = [c.autodiff_judged & ~c.wrong_by_autodiff for c in compared]
    gradient = partial(case.gradient, dy=case.dys[0])
    return judge_at_kinks(gradient, case.leaves.floats, ours, scales, wrong, agrees)


def _between(c: Comparison) -> np.ndarray:
    return c.bent & (c.off_differences <= c.allowed_differences)


def _along_directions(case: Case, ours: list[np.ndarray], scales: list[np.ndarray]) -> None:
    """Compare the whole gradient with differences along random directions."""
    floats = case.leaves.floats
    point = np.concatenate([np.ravel(x) for x in floats])
    sizes = np.concatenate([np.full(x.size, np.abs(x).mean()) for x in map(np.asarray, floats)])
    directions = case.random.choice([-1.0, 1.0], (2, len(point))) * sizes
    flat, scale = (np.concatenate([np.ravel(a) for a in arrays]) for arrays in (ours, scales))
    slopes, errors = directional_differences(case.plain, floats, case.dys[0], directions)
    for direction, slope, error in zip(directions, slopes, errors, strict=True):
        size = float(np.linalg.norm(scale * direction))
        off = abs(float(flat @ direction) - slope)
        if off > 4 * error + SETTLED * size:
            text = (
                f"along a random direction the cotangents give {flat @ direction:.9g} in place of "
                f"{slope:.9g}"
            )
            case.report.problems.append(Problem("differences", text))
            return


def _sensitivity(case: Case, scales: list[np.ndarray], times: int) -> list[np.ndarray]:
    """Measure how far each cotangent moves when the inputs change in their last bit.

    No two executables can be expected to agree more closely than that.
    """
    first, dy = all_numpy(case.jitted[0]), case.dys[0]
    wobbles = [np.zeros_like(d) for d in first]
    eps = np.finfo("float64").eps
    for _ in range(times):
        near = [
            np.asarray(x) * (1 + eps * case.random.choice([-1, 1], x.shape))
            for x in case.leaves.floats
        ]
        residuals = case.fwd(*near)[2]
        for w, a, b in zip(wobbles, case.run_bwd(residuals, dy), first, strict=True):
            w += difference(to_numpy(a), b, unknown=0)
    return [np.where(w <= ILL_CONDITIONED * s, w, 0) for w, s in zip(wobbles, scales, strict=True)]


def _lost(case: Case) -> list[np.ndarray]:
    """Return how large a slope may be that a step of 1/16 of the input does not show in y."""
    pairs = zip(all_numpy(case.dys[0]), all_numpy(case.floats_of(case.y)), strict=True)
    level = np.finfo("float64").eps * sum(float(np.abs(dy * y).sum()) for dy, y in pairs)
    return [16 * level / sizes(np.asarray(x)) for x in case.leaves.floats]


def _slopes(case: Case, scales: list[np.ndarray]) -> tuple[list[Slopes], bool]:
    """Return the differences, or the complex step where they lose digits and agree with it."""
    dy, floats = case.dys[0], case.leaves.floats
    goals = [DIFFERENCES * s for s in scales]
    elements = sample(case.plain, floats)
    found = central_differences(case.plain, floats, dy, goals, elements)
    slopes = [Slopes(*s) for s in zip(*found, strict=True)]

    def settled(s: Slopes, scale: np.ndarray) -> np.ndarray:
        size = np.fmax(np.maximum(scale, np.abs(s.value)), 0)
        return 4 * s.error <= SETTLED * size

    if elements is not None:
        return slopes, True
    if all(settled(*pair).all() for pair in zip(slopes, scales, strict=True)):
        return slopes, False
    exact = complex_step(case.plain, floats, dy)
    if exact is None:
        return slopes, False
    with np.errstate(all="ignore"):
        for c, s, scale in zip(exact, slopes, scales, strict=True):
            known = np.isfinite(s.value) & np.isfinite(c) & np.isfinite(s.error)
            if not (np.abs(c - s.value) <= DISBELIEF * scale + 4 * s.error)[known].all():
                return slopes, False
    return [_refined(*t, settled(*t[1:])) for t in zip(exact, slopes, scales, strict=True)], False


def _refined(exact: np.ndarray, s: Slopes, scale: np.ndarray, settled: np.ndarray) -> Slopes:
    """Take the complex step where the differences have not settled, kinks aside."""
    use = np.isfinite(exact) & ~settled & ~(s.high > s.low)
    value = np.where(use, exact, s.value)
    return s._replace(
        value=value,
        error=np.where(use, 0, s.error),
        low=np.where(use, value, s.low),
        high=np.where(use, value, s.high),
    )


def _estimated(oracle: np.ndarray, s: Slopes) -> np.ndarray:
    sizes = [np.nan_to_num(np.abs(a), nan=0, posinf=0) for a in (oracle, s.magnitude, s.value)]
    whole = max((float(a.max(initial=0)) for a in sizes), default=0.0)
    return np.maximum(np.maximum.reduce(sizes), whole)


def _largest(scale: np.ndarray) -> float:
    return float(np.nan_to_num(scale, nan=0, posinf=0).max(initial=0))
