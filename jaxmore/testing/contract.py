"""The contract of a rule: it returns what it must, repeats the forward, and bwd is linear in dy."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmore.errors import InputError
from jaxmore.testing.case import NARROW, Case, all_numpy, to_numpy
from jaxmore.testing.diagnosis import where
from jaxmore.testing.judgement import AUTODIFF, bracketed, difference, worst
from jaxmore.testing.leaves import StructureError, is_float
from jaxmore.testing.misuse import explained

MEANT = (
    "; if that is meant (gradient clipping), leave out what it breaks: "
    "skip=('autodiff', 'differences', 'linearity')"
)


def check_structure(case: Case) -> None:
    """Run the rule eagerly and under jit, and check outputs and residuals."""
    floats = case.leaves.floats
    try:
        value = case.rule_fwd(*floats)
    except StructureError as error:
        case.fail("structure", str(error), error.argument)
    if not isinstance(value, tuple) or len(value) != 2:
        given = f"a tuple of {len(value)}" if isinstance(value, tuple) else type(value).__name__
        raise InputError(f"fwd returns {given}, not a pair; write return y, residuals")
    case.y, residuals = jax.tree.map(jnp.asarray, value[0]), value[1]
    _check_output(case)
    _check_residuals(case, residuals)
    case.dys = [case.draw_cotangent(), case.draw_cotangent()]
    case.eager = case.attempt("structure", "eagerly", case.pull_back, floats, case.dys[0])
    try:
        plain, y, residuals = case.fwd(*floats)
    except Exception as error:  # whatever a user's forward raises
        case.fail("modes", f"fwd fails under jit: {explained(error)}")
    check_primal(case, plain, y)
    first = case.attempt("modes", "under jit", case.run_bwd, residuals, case.dys[0])
    case.jitted = [first, case.run_bwd(residuals, case.dys[1])]
    case.residuals = residuals


def _check_output(case: Case) -> None:
    """Check that the forward returns finite floats, and the same ones when it runs again."""
    name, ys = case.report.name, case.floats_of(case.y)
    if any(jnp.issubdtype(y.dtype, jnp.complexfloating) for y in jax.tree.leaves(case.y)):
        raise InputError(
            f"{name}: the forward returns complex numbers, which are not judged; return the real "
            "and the imaginary part"
        )
    if not ys:
        raise ValueError(f"{name}: the forward returns no float array: there is no gradient")
    if not all(np.isfinite(to_numpy(y)).all() for y in ys):
        raise ValueError(f"{name}: the forward is not finite on these arguments")
    again = case.floats_of(jax.tree.map(jnp.asarray, case.rule_fwd(*case.leaves.floats)[0]))
    if any(not np.array_equal(a, b) for a, b in zip(all_numpy(ys), all_numpy(again), strict=True)):
        case.fail(
            "primal",
            "the forward is not deterministic: it gives another value when it runs again on the "
            "same arguments; pass a key, or what is random, as an argument",
        )


def _check_residuals(case: Case, residuals: Any) -> None:
    numbers: list[Any] = []
    for leaf in jax.tree.leaves(residuals):
        if isinstance(leaf, bool | int | float):
            numbers.append(leaf)
        elif not isinstance(leaf, jax.Array | np.ndarray | np.generic):
            text = f"the residuals hold {leaf!r}, a {type(leaf).__name__}: only arrays survive jit"
            case.fail("residuals", text + " (make it an option, or read it off a shape)")
    if numbers:
        listed = ", ".join(map(str, numbers[:3]))
        case.report.notes.append(
            f"the residuals hold Python numbers ({listed}): under jit they become traced arrays, "
            "which cannot be a shape or an axis in bwd"
        )


def check_primal(case: Case, plain: Any, y: Any) -> None:
    """Compare the output of ``fwd`` with the plain forward's, from one executable."""
    right, ours = jax.tree.leaves(plain), jax.tree.leaves(y)
    if _kinds(ours) != _kinds(right):
        case.fail("primal", f"fwd returns {_kinds(ours)}, the plain forward {_kinds(right)}")
    if "primal" in case.rule.skip:
        return
    for y, a, b in zip(ours, all_numpy(ours), all_numpy(right), strict=True):
        exact = case.rule.bitwise or not is_float(y)
        allowed = 0 if exact else NARROW * float(jnp.finfo(y.dtype).eps)
        off = difference(a, b) if is_float(y) else np.asarray(a != b, "float64")
        wrong = ~(off <= allowed * np.abs(b).max(initial=0))
        if wrong.any():
            i = worst(off)
            text = (
                f"fwd's output is not the plain forward's: {where(wrong)}; worst at "
                f"y{bracketed(i)}: {a[i]:.17g} in place of {b[i]:.17g}"
            )
            if not case.rule.bitwise:
                text += "; if op is meant for the gradient alone, leave it out: skip=('primal',)"
            case.fail("primal", text)


def _kinds(leaves: Sequence[Any]) -> str:
    return ", ".join(f"{leaf.dtype}{list(leaf.shape)}" for leaf in leaves)


def check_linearity(case: Case) -> None:
    """Check that bwd is linear: dy of zero gives zeros, 4 dy gives 4 times the bits."""
    a, b = 0.75, -1.25
    pairs = zip(*map(all_numpy, case.dys), strict=True)
    combine = [
        (a * d1 + b * d2).astype(y.dtype) for (d1, d2), y in zip(pairs, case.dys[0], strict=True)
    ]
    factors = (0.0, 4.0, 2.0**40, 2.0**-40)
    combined, of_zero, *scaled = (
        all_numpy(case.run_bwd(case.residuals, dy))
        for dy in (
            combine,
            *(
                [np.asarray(d) * np.asarray(factor, d.dtype) for d in case.dys[0]]
                for factor in factors
            ),
        )
    )
    first, second = map(all_numpy, case.jitted)
    for i, name in enumerate(case.leaves.float_names):
        with np.errstate(all="ignore"):
            off = np.abs(combined[i] - (a * first[i] + b * second[i]))
        wrong = ~(off <= AUTODIFF * 2 * (case.scales[0][i] + case.scales[1][i]))
        wrong &= np.isfinite(first[i]) & np.isfinite(second[i])
        if wrong.any():
            text = "bwd is not linear: bwd(a dy₁ + b dy₂) is not a bwd(dy₁) + b bwd(dy₂)"
            case.add("linearity", f"{name}: {text}, {where(wrong)}{MEANT}", name)
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
                text = f"{name}: {times} dy does not give {times} times the bits{MEANT}"
                case.add("linearity", text, name)
                break
    case.stop_if_wrong()
