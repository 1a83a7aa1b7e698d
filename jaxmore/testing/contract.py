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
    case.y = jax.tree.map(jnp.asarray, case.y)
    ys = case.floats_of(case.y)
    if not ys:
        raise ValueError(f"{name}: the forward returns no float array: there is no gradient")
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
        exact = case.rule.bitwise or not is_float(y)
        allowed = 0 if exact else NARROW * float(jnp.finfo(y.dtype).eps)
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
    factors = (0.0, 4.0, 2.0**40, 2.0**-40)
    combined, of_zero, *scaled = (
        all_numpy(case.run_bwd(case.residuals, dy))
        for dy in (combine, *([factor * d for d in case.dys[0]] for factor in factors))
    )
    first, second = map(all_numpy, case.jitted)
    for i, name in enumerate(case.leaves.float_names):
        with np.errstate(all="ignore"):
            off = np.abs(combined[i] - (a * first[i] + b * second[i]))
        wrong = ~(off <= AUTODIFF * 2 * (case.scales[0][i] + case.scales[1][i]))
        wrong &= np.isfinite(first[i]) & np.isfinite(second[i])
        if wrong.any():
            text = "bwd is not linear: bwd(a dy₁ + b dy₂) is not a bwd(dy₁) + b bwd(dy₂)"
            case.add("linearity", f"{name}: {text}, {where(wrong)}", name)
            continue
        nonzero = np.where(np.isfinite(first[i]), of_zero[i], 0)
        if nonzero.any():  # NaN is true
            worst_value = nonzero[worst(np.abs(nonzero))]
            case.add("linearity", f"{name}: a dy of zero gives {worst_value}, not 0", name)
            continue
        normal = (np.abs(first[i]) > 1e-270) & (np.abs(first[i]) < 1e270)
        for factor, of_factor in zip(factors[1:], scaled, strict=True):
            with np.errstate(all="ignore"):
                other = of_factor[i] != factor * first[i]
            if (other & normal).any():
                times = "4" if factor == 4 else f"2^{int(np.log2(factor))}"
                text = f"{name}: {times} dy does not give {times} times the bits"
                case.add("linearity", text, name)
                break
    case.stop_if_wrong()
