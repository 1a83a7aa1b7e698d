"""The second check: every cotangent equals autodiff's and that of differences."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxmore.testing.case import Case, all_numpy, to_numpy
from jaxmore.testing.diagnosis import Evidence
from jaxmore.testing.differences import central_differences, complex_step
from jaxmore.testing.judgement import DIFFERENCES, Slopes, casts_in, judge
from jaxmore.testing.modes import disagreement
from jaxmore.testing.report import Row


def check_values(case: Case) -> None:
    """Compare every cotangent, element by element, with both oracles."""
    floats, names, dy = case.leaves.floats, case.leaves.float_names, case.dys[0]
    oracle, scales = case.truth(floats, dy)
    case.scales = [scales, case.truth(floats, case.dys[1])[1]]
    ours = all_numpy(case.jitted[0])
    case.wobbles = _sensitivity(case)
    slopes = _slopes(case)
    arrays = zip(case.leaves.names, case.leaves.arrays, strict=True)
    inputs = {
        name: to_numpy(a)
        for name, a in arrays
        if a is not None and not jnp.issubdtype(a.dtype, jax.dtypes.prng_key)
    }
    casts = partial(casts_in, case.pull_back, floats, dy)
    ys, dys = (all_numpy(jax.tree.leaves(tree)) for tree in (case.y, dy))
    for i, name in enumerate(names):
        others = {n: o for n, o in zip(names, oracle, strict=True) if n != name}
        evidence = Evidence(name, ours[i], oracle[i], scales[i], inputs, dys, ys, others)
        judgement = judge(evidence, slopes[i], case.wobbles[i], casts)
        if judgement.note:
            case.report.notes.append(judgement.note)
        if judgement.problem:
            case.report.problems.append(judgement.problem)
        errors = judgement.autodiff, judgement.differences
        case.report.rows.append(Row(name, ours[i].shape, *errors))
    eager = disagreement(case, "eager", case.eager, case.jitted[0])
    # If the compiled rule differs from the one that was written, no oracle can judge it. (A cast
    # to a narrower dtype also makes them differ.)
    if eager and not casts():
        case.report.problems[:] = eager
    case.stop_if_wrong()


def _sensitivity(case: Case) -> list[float]:
    """Measure how far each cotangent moves when the inputs change in their last bit.

    No two executables can be expected to agree more closely than that.
    """
    first, dy = case.jitted[0], case.dys[0]
    wobbles = [0.0] * len(first)
    for _ in range(3):
        eps = np.finfo("float64").eps
        near = [x * (1 + eps * case.random.choice([-1, 1], x.shape)) for x in case.leaves.floats]
        residuals = case.fwd(*map(jnp.asarray, near))[2]
        for i, (a, b) in enumerate(zip(case.run_bwd(residuals, dy), first, strict=True)):
            wobbles[i] = max(wobbles[i], float(np.abs(a - b).max(initial=0)))
    return wobbles


def _slopes(case: Case) -> list[Slopes]:
    """Return the differences, or the complex step where they lose digits and agree with it."""
    dy, floats = case.dys[0], case.leaves.floats
    slopes = [Slopes(*s) for s in zip(*central_differences(case.plain, floats, dy), strict=True)]
    margins = [DIFFERENCES * scale for scale in case.scales[0]]
    if all((s.error <= m).all() for s, m in zip(slopes, margins, strict=True)):
        return slopes
    exact = complex_step(case.plain, floats, dy)
    if exact is None or any(
        not (np.abs(c - s.value) <= m + 4 * s.error).all()
        for c, s, m in zip(exact, slopes, margins, strict=True)
    ):
        return slopes
    return [s._replace(value=c, error=np.zeros_like(c)) for s, c in zip(slopes, exact, strict=True)]
