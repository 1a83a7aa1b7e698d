"""Whether eager, jit, vmap, scan, checkpoint and grad of grad agree."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmore.drop_in import custom_vjp
from jaxmore.testing import oracles
from jaxmore.testing.case import Case, all_numpy, to_numpy
from jaxmore.testing.judgement import difference, share
from jaxmore.testing.misuse import explained
from jaxmore.testing.oracles.compiled import jit_quickly
from jaxmore.testing.report import Problem

SECOND_ORDER = 1e-9
"""The tolerance of grad of grad in float64, relative to the largest element."""
NEARBY = 2.0**-20
"""How far to the left and right of an element a kink of the first derivative is looked for, as a
share of the element; of 1 at zero."""
JUMP = 1e-3
"""The change of the second derivative over that distance, relative to its largest element, that
shows one."""
MODES = 64
"""How far eager, jit, vmap, scan and checkpoint may differ, in ulps of the condition scale."""


def check_modes(case: Case, drop_in: Callable[..., Any] | None = None) -> None:
    """Run the rule in every mode and compare; then differentiate it a second time.

    Args:
        case: the rule.
        drop_in: the rule as a hijax primitive, which may lack what a mode needs; by default
            ``custom_vjp`` makes it a function that JAX differentiates.
    """
    case.report.modes = True
    floats, (dy, dy2) = case.leaves.floats, case.dys
    first, second = case.jitted
    again = case.run_bwd(case.residuals, dy)
    if any(a.tobytes() != b.tobytes() for a, b in zip(again, first, strict=True)):
        case.fail("modes", "the same executable gives other bits on the second run")
    if case.n_traces != 1:
        case.fail("modes", f"bwd was traced {case.n_traces} times for one shape")
    is_primitive = drop_in is not None
    drop_in = drop_in or case.leaves.on_floats(
        custom_vjp(case.rule.plain, case.rule.fwd, case.rule.bwd), float_outputs=True
    )
    dys = [np.stack(pair) for pair in zip(dy, dy2, strict=True)]
    twice = tuple(np.stack([x, x]) for x in floats)
    both = list(zip(first, second, strict=True))
    # The arrays are arguments: as constants they would be compiled into the programs.
    modes: dict[str, tuple[Callable[..., Any], Any, Any]] = {
        "vmap": (jax.vmap(partial(oracles.cotangents, drop_in)), twice, dys),
        "lax.scan": (partial(oracles.through_scan, drop_in), floats, dys),
        "checkpoint": (partial(oracles.through_checkpoint, drop_in), floats, dy),
    }
    expected = {
        "vmap": [np.stack(pair) for pair in both],
        "lax.scan": [np.asarray(a) + np.asarray(b) for a, b in both],
        "checkpoint": first,
    }
    for mode, (run, *args) in modes.items():
        program = jax.jit(run)
        if is_primitive and not _is_provided(case, mode, program, args):
            continue
        got = case.attempt("modes", f"under {mode}", program, *args)
        case.report.problems += disagreement(case, mode, got, expected[mode])
    case.stop_if_wrong()
    if "autodiff" not in case.rule.skip and not case.without_autodiff:
        check_second_order(case, drop_in)


def _is_provided(case: Case, mode: str, program: Callable[..., Any], args: Any) -> bool:
    """Return whether a primitive has the rules that a mode needs; say in the report if not."""
    try:
        jax.eval_shape(program, *args)
    except NotImplementedError:
        if mode not in case.report.not_provided:
            case.report.not_provided.append(mode)
        return False
    except Exception:  # the run itself will report it
        return True
    return True


def disagreement(case: Case, mode: str, got: Sequence[Any], jitted: Sequence[Any]) -> list[Problem]:
    """Compare the cotangents of one mode with those under jit."""
    problems: list[Problem] = []
    for i, name in enumerate(case.leaves.float_names):
        if got[i].shape != jitted[i].shape:
            continue  # the comparison with the oracles reports it
        scale = case.scales[0][i] + case.scales[1][i]
        unit = np.finfo("float64").eps * scale + case.wobbles[i]
        ulps = share(difference(to_numpy(got[i]), to_numpy(jitted[i])), unit)
        case.report.agreement = max(case.report.agreement or 0.0, ulps)
        if not ulps <= MODES:
            text = f"{name}: {mode} and jit differ by {ulps:.3g} ulp"
            problems.append(Problem("modes", text, name))
    return problems


def check_second_order(
    case: Case,
    drop_in: Callable[..., Any],
    twice: Callable[..., Any] = oracles.second_order,
    mode: str = "grad of grad",
) -> None:
    """Compare the second derivative of the rule with that of the plain forward.

    Args:
        case: the rule.
        drop_in: the rule as a function that JAX differentiates.
        twice: how to differentiate it a second time; takes what ``oracles.second_order`` takes.
        mode: what to call that.
    """
    floats, dy = case.leaves.floats, case.dys[0]
    directions = tuple(jnp.asarray(case.random.normal(size=x.shape)) for x in floats)
    second_order = _jit(oracles.second_order)
    expected = all_numpy(second_order(case.plain, floats, dy, directions))
    try:
        got = _jit(twice)(drop_in, floats, dy, directions)
    except Exception as error:  # whatever a user's rule raises
        if not _reversible(case):
            case.report.notes.append(f"{mode}: not checked: {explained(error)}")
            return
        case.fail("modes", f"bwd fails {mode}: {explained(error)}")
    scale = max(np.abs(x).max(initial=0) for x in [*expected, *case.scales[0]])
    ours = all_numpy(got)
    off = [np.abs(a - b) for a, b in zip(ours, expected, strict=True)]
    if any((o > SECOND_ORDER * scale).any() for o in off):
        # relu(x)² has a kink in its slope at 0: any second derivative between is right.
        steps = [NEARBY * jnp.where(x == 0, 1, jnp.abs(x)) for x in floats]
        left, right = (
            all_numpy(second_order(case.plain, list(map(jnp.add, floats, h)), dy, directions))
            for h in ([-step for step in steps], steps)
        )
        margin = JUMP * scale
        for i, (a, b) in enumerate(zip(left, right, strict=True)):
            low, high = np.minimum(a, b) - margin, np.maximum(a, b) + margin
            between = (high - low > 3 * margin) & (low <= ours[i]) & (ours[i] <= high)
            off[i] = np.where(between, 0, off[i])
    for name, o in zip(case.leaves.float_names, off, strict=True):
        error = share(o, scale)
        case.report.grad_of_grad = max(case.report.grad_of_grad or 0.0, error)
        if not error <= SECOND_ORDER:
            case.add("modes", f"{name}: {mode} is off by {error:.1e}", name)
    case.stop_if_wrong()


def _reversible(case: Case) -> bool:
    """Whether autodiff can reverse ``fwd`` itself, as a second derivative has to."""

    def value(*floats: Any) -> list[Any]:
        return case.floats_of(case.rule_fwd(*floats)[0])

    try:
        jax.eval_shape(partial(oracles.cotangents, value), case.leaves.floats, case.dys[0])
    except Exception:  # a while loop, a callback
        return False
    return True


@cache
def _jit(oracle: Callable[..., Any]) -> Callable[..., Any]:
    """Compile an oracle whose first argument is the function."""
    return jit_quickly(oracle, static_argnums=0)
