"""The contract of a rule: it returns what it must, repeats the forward, and bwd is linear in dy."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmore.testing.case import NARROW, Case, all_numpy
from jaxmore.testing.diagnosis import where
from jaxmore.testing.judgement import AUTODIFF, bracketed, worst
from jaxmore.testing.leaves import is_float


def check_structure(case: Case) -> None:
    """Run the rule eagerly and under jit, and check outputs and residuals."""
    floats, name = case.leaves.floats, case.report.name
    case.y, residuals = case.rule_fwd(*floats)
    ys = jax.tree.leaves(case.y)
    if not all(is_float(jnp.asarray(y)) for y in ys):
        raise ValueError(f"{name}: the forward returns something that is no float array")
    if not all(np.isfinite(y).all() for y in ys):
        raise ValueError(f"{name}: the forward is not finite on these arguments")
    for leaf in jax.tree.leaves(residuals):
        if not isinstance(leaf, jax.Array | np.ndarray):
            text = f"the residuals hold {leaf!r}, a {type(leaf).__name__}: only arrays survive jit"
            case.fail("residuals", text + " (make it an option, or read it off a shape)")
    case.dys = [case.draw_cotangent(), case.draw_cotangent()]
    case.eager = case.attempt("structure", "eagerly", case.pull_back, floats, case.dys[0])
    plain, y, residuals = case.fwd(*floats)
    check_primal(case, plain, y)
    first = case.attempt("modes", "under jit", case.run_bwd, residuals, case.dys[0])
    case.jitted = [first, case.run_bwd(residuals, case.dys[1])]
    case.residuals = residuals


def check_primal(case: Case, plain: Any, y: Any) -> None:
    """Compare the output of ``fwd`` with the plain forward's, from one executable."""
    right, ours = jax.tree.leaves(plain), jax.tree.leaves(y)
    if _kinds(ours) != _kinds(right):
        case.fail("primal", f"fwd returns {_kinds(ours)}, the plain forward {_kinds(right)}")
    for y, a, b in zip(ours, all_numpy(ours), all_numpy(right), strict=True):
        allowed = 0 if case.rule.bitwise else NARROW * float(jnp.finfo(y.dtype).eps)
        off = np.abs(a - b)
        wrong = ~(off <= allowed * np.abs(b).max(initial=0))
        if wrong.any():
            i = worst(off)
            text = (
                f"fwd's output is not the plain forward's: {where(wrong)}; worst at "
                f"y{bracketed(i)}: {a[i]:.17g} in place of {b[i]:.17g}"
            )
            case.fail("primal", text)


def _kinds(leaves: Sequence[Any]) -> str:
    return ", ".join(f"{leaf.dtype}{list(leaf.shape)}" for leaf in leaves)


def check_linearity(case: Case) -> None:
    """Check that bwd is linear: dy of zero gives zeros, 4 dy gives 4 times the bits."""
    a, b = 0.75, -1.25
    combine = jax.tree.map(lambda d1, d2: a * d1 + b * d2, *case.dys)
    combined, of_zero, of_four = (
        all_numpy(case.run_bwd(case.residuals, dy))
        for dy in (
            combine,
            jax.tree.map(jnp.zeros_like, case.dys[0]),
            jax.tree.map(lambda d: 4 * d, case.dys[0]),
        )
    )
    first, second = map(all_numpy, case.jitted)
    for i, name in enumerate(case.leaves.float_names):
        off = np.abs(combined[i] - (a * first[i] + b * second[i]))
        wrong = ~(off <= AUTODIFF * 2 * (case.scales[0][i] + case.scales[1][i]))
        if wrong.any():
            text = "bwd is not linear: bwd(a dy₁ + b dy₂) is not a bwd(dy₁) + b bwd(dy₂)"
            case.add("linearity", f"{name}: {text}, {where(wrong)}", name)
        elif of_zero[i].any():  # NaN is true
            worst_value = of_zero[i][worst(np.abs(of_zero[i]))]
            case.add("linearity", f"{name}: a dy of zero gives {worst_value}, not 0", name)
        elif ((of_four[i] != 4 * first[i]) & (np.abs(first[i]) > 1e-280)).any():
            case.add("linearity", f"{name}: 4 dy does not give 4 times the bits", name)
    case.stop_if_wrong()
