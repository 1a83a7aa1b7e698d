"""The first check: the rule runs, returns what the contract asks for, and repeats the forward."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmore.testing.case import NARROW, Case, all_numpy
from jaxmore.testing.diagnosis import where
from jaxmore.testing.judgement import bracketed, worst
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
