"""check_rule: seven checks of one rule, each against an oracle that shares no code with it."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxmore.testing import oracles
from jaxmore.testing.case import DTYPES, Case, CheckFailed, Rule
from jaxmore.testing.contract import check_linearity, check_structure
from jaxmore.testing.leaves import Leaves, WithOptions, names_of
from jaxmore.testing.modes import check_modes
from jaxmore.testing.narrow import check_narrow
from jaxmore.testing.report import Report, RuleError
from jaxmore.testing.values import check_values


def check_rule(
    fwd: Callable[..., tuple[Any, Any]],
    bwd: Callable[..., tuple[Any, ...]],
    *args: Any,
    op: Callable[..., Any] | None = None,
    dtypes: Sequence[str] = DTYPES,
    modes: bool = True,
    seed: int = 0,
    **options: Any,
) -> Report:
    """Prove a hand-derived rule right on the given arguments, or say what is wrong with it.

    The checks, all in float64 unless they say otherwise (the caller's process stays as it is):

    1. primal: ``fwd`` gives what ``op`` gives, bit for bit under one compilation;
    2. autodiff: each cotangent, elementwise and whole, equals that of ``jax.vjp`` of ``op``
       within 1e-12 of its condition scale;
    3. differences: and that of five-point differences (or a complex step) within 1e-9;
    4. structure and dtypes: one cotangent for each argument, of its shape and dtype, None for
       integers; float32, bfloat16 and float16 within 16 eps (or 4 times autodiff's own error);
    5. linearity in the cotangent; exact zeros from zeros; 4 dy gives 4 times the bits; no NaN;
    6. modes: eager, jit, vmap, ``lax.scan`` and ``jax.checkpoint`` agree within 64 ulp, the same
       executable twice bit for bit; grad of grad through :func:`jaxmore.custom_vjp`; one
       compilation per shape;
    7. residuals: arrays only; their bytes beside those that autodiff keeps.

    Where the forward has a kink (relu at 0, a tie for a maximum) any slope between the left and
    the right one is right.

    Args:
        fwd: ``fwd(*args, **options) -> (y, residuals)``; y and each argument may be a tree.
        bwd: ``bwd(residuals, dy, **options) -> cotangents``, a tuple with one for each argument.
        *args: arrays (floats are taken in float64), trees of them, keys, or None for an optional
            one that is left out. Generic values show mistakes that zeros, ones and distinct ids
            hide.
        op: the plain forward ``op(*args, **options) -> y``; without it that of ``fwd``.
        dtypes: the narrower dtypes to check in; none, ``()``, is faster.
        modes: False leaves out check 6, which is most of the time.
        seed: of the cotangents that are drawn.
        **options: keyword options of the rule.

    Returns:
        What was measured; prints as a short table.

    Raises:
        RuleError: the rule is wrong; the message names argument, index, both values, the
            relative error and, where the pattern shows it, the cause.
        ValueError: these arguments cannot show anything: the forward is not finite there, or
            there is no float among them.

    >>> import jax.numpy as jnp
    >>> def square_fwd(x):
    ...     return x * x, x
    >>> def square_bwd(x, dy):
    ...     return (x * dy,)
    >>> check_rule(square_fwd, square_bwd, jnp.array([1.0, 3.0]))
    Traceback (most recent call last):
        ...
    jaxmore.testing.report.RuleError: square is wrong
    x: all 2 elements; worst at x[1]: -0.69631459 in place of -1.39262918 (relative error 0.5)
      cause: it is half of what it should be
    """
    report = examine(fwd, bwd, *args, op=op, dtypes=dtypes, modes=modes, seed=seed, **options)
    if not report.passed:
        raise RuleError(report)
    return report


def examine(
    fwd: Callable[..., tuple[Any, Any]],
    bwd: Callable[..., tuple[Any, ...]],
    *args: Any,
    op: Callable[..., Any] | None = None,
    bitwise: bool = True,
    names: Sequence[str] | None = None,
    name: str | None = None,
    dtypes: Sequence[str] = DTYPES,
    modes: bool = True,
    seed: int = 0,
    **options: Any,
) -> Report:
    """:func:`check_rule` that returns what is wrong in the report's problems instead of raising.

    Args:
        fwd: as in :func:`check_rule`.
        bwd: as in :func:`check_rule`.
        *args: as in :func:`check_rule`.
        op: as in :func:`check_rule`.
        bitwise: False where ``op`` computes the same in another way, equal but for rounding.
        names: what to call the leaves of ``args``; by default as in the signature of ``fwd``.
        name: what to call the rule; by default as ``fwd`` without its ``_fwd``.
        dtypes: as in :func:`check_rule`.
        modes: as in :func:`check_rule`.
        seed: as in :func:`check_rule`.
        **options: as in :func:`check_rule`.
    """
    bound = tuple(sorted(options.items()))
    plain = WithOptions(op, bound) if op else WithOptions(fwd, bound, first=True)
    rule = Rule(WithOptions(fwd, bound), WithOptions(bwd, bound), plain, bitwise)
    report = Report(name or getattr(fwd, "__name__", "rule").removesuffix("_fwd"))
    with jax.enable_x64(True):
        leaves = Leaves(args, names or names_of(fwd, args))
        report.notes += _degenerate(leaves)
        case = Case(rule, leaves, report, np.random.default_rng(seed))
        with contextlib.suppress(CheckFailed):
            _run_checks(case, dtypes, modes)
    return report


def _run_checks(case: Case, dtypes: Sequence[str], modes: bool) -> None:
    """Run the checks in order; each relies on those before it."""
    check_structure(case)
    check_values(case)
    check_linearity(case)
    if modes:
        check_modes(case)
    for dtype in dtypes:
        check_narrow(case, dtype)
    _count_residuals(case)


def _count_residuals(case: Case) -> None:
    """Count the bytes that the rule keeps, and those that autodiff would, in float32."""
    floats = tuple(x.astype("float32") for x in case.leaves.floats)
    case.report.residual_bytes = oracles.count_bytes(lambda *f: case.rule_fwd(*f)[1], floats)
    case.report.autodiff_bytes = oracles.kept_bytes(case.plain, floats)


def _degenerate(leaves: Leaves) -> list[str]:
    """What these arguments cannot show."""
    notes: list[str] = []
    for i, (name, array) in enumerate(zip(leaves.names, leaves.arrays, strict=True)):
        if array is None or array.size < 2:
            continue
        if i in leaves.places and len(np.unique(array)) == 1:
            notes.append(f"{name} holds one value only: a wrong factor or axis may not show")
        is_ids = np.issubdtype(array.dtype, np.integer)
        if is_ids and len(np.unique(array)) == array.size:
            notes.append(f"the values of {name} are all different: .set for .add would not show")
    return notes
