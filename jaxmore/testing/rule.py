"""check_rule: seven checks of one rule, each against an oracle that shares no code with it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmore.errors import InputError
from jaxmore.prove.program import names_of
from jaxmore.testing import misuse, oracles
from jaxmore.testing.case import CHECKS, DTYPES, Case, CheckFailed, Rule, check_dtypes
from jaxmore.testing.contract import check_linearity, check_structure
from jaxmore.testing.leaves import Leaves, Option, WithOptions
from jaxmore.testing.modes import check_modes
from jaxmore.testing.narrow import check_narrow
from jaxmore.testing.report import Report, Row, RuleError
from jaxmore.testing.taylor import check_taylor
from jaxmore.testing.values import check_values


def check_rule(
    fwd: Callable[..., tuple[Any, Any]],
    bwd: Any,
    *args: Any,
    op: Callable[..., Any] | None = None,
    dtypes: Sequence[str] = DTYPES,
    only_dtype: str | None = None,
    modes: bool = True,
    skip: Sequence[str] = (),
    nondiff_argnums: Sequence[int] = (),
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    **more_options: Any,
) -> Report:
    """Check a hand-derived rule on the given arguments, and raise if it is wrong.

    The checks, in float64 unless they say otherwise (the caller's process stays as it is):

    1. primal: ``fwd`` gives what ``op`` gives, within 16 eps;
    2. autodiff: each element of each cotangent equals that of ``jax.vjp`` of ``op`` within 1e-12
       of its condition scale;
    3. differences: and that of five-point differences (or a complex step) within 1e-9, plus four
       times the error of the differences themselves; the Taylor remainder
       f(x + εv) − f(x) − ε⟨cotangents, v⟩ shrinks with order 2;
    4. structure and dtypes: one cotangent for each argument, of its shape and dtype, None for
       integers; float32, bfloat16 and float16 within 16 eps (or 4 times autodiff's own error);
    5. linearity in the cotangent; exact zeros from zeros; 2ⁿ dy gives 2ⁿ times the bits; no NaN;
    6. modes: eager, jit, vmap, ``lax.scan`` and ``jax.checkpoint`` agree within 64 ulp, the same
       executable twice bit for bit; grad of grad through :func:`jaxmore.custom_vjp`; one
       compilation per shape;
    7. residuals: arrays (Python numbers are noted); their bytes beside those that autodiff keeps.

    At a kink of the forward (relu at 0, a tie for a maximum) every element of the generalised
    gradient is right. An element at which neither oracle gives a number is named as not judged.

    Args:
        fwd: ``fwd(*args, **options) -> (y, residuals)``; y and each argument may be a tree. Or a
            ``jax.custom_vjp`` object, whose functions are used, followed by the arguments.
        bwd: ``bwd(residuals, dy, **options) -> cotangents``, a tuple with one for each argument.
        *args: arrays (floats are taken in float64), trees of them, keys, or None for an optional
            one that is left out. Generic values show mistakes that zeros, ones and distinct ids
            hide.
        op: the plain forward ``op(*args, **options) -> y``; by default the first output of
            ``fwd``. With ``skip=("primal",)`` it is what the gradient belongs to, where that is
            meant to be another function than ``fwd`` (straight-through rounding).
        dtypes: the narrower dtypes to check in; none, ``()``, is faster.
        only_dtype: check in this dtype alone, for rules that cannot run in float64.
        modes: False leaves out check 6, which takes most of the time.
        skip: checks to leave out, of primal, autodiff, differences, linearity, modes, dtypes and
            residuals.
        nondiff_argnums: the positions of the arguments that are no arrays, as in
            ``jax.custom_vjp``; ``bwd`` then takes their values first.
        seed: the seed of the cotangents.
        options: keyword options of the rule, for those called like one of the above.
        **more_options: keyword options of the rule.

    Returns:
        What was measured; prints as a short table.

    Raises:
        RuleError: the rule is wrong, or no oracle could judge it; the message names argument,
            index, both values, the relative error and, where it is certain, the cause.
        ValueError: the rule or its arguments are not such that they can be checked.

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
    own = {
        "op": (op, None), "dtypes": (dtypes, DTYPES), "only_dtype": (only_dtype, None),
        "modes": (modes, True), "skip": (skip, ()), "seed": (seed, 0),
        "nondiff_argnums": (nondiff_argnums, ()),
    }  # fmt: skip
    merged = {**(options or {}), **more_options}
    misuse.refuse_shadowed(fwd, merged, own)
    report = examine(
        fwd, bwd, *args, op=op, bitwise=False, dtypes=dtypes, only_dtype=only_dtype, modes=modes,
        skip=skip, nondiff_argnums=nondiff_argnums, seed=seed, options=merged,
    )  # fmt: skip
    if not report.passed:
        raise RuleError(report)
    return report


def examine(
    fwd: Callable[..., tuple[Any, Any]],
    bwd: Any,
    *args: Any,
    op: Callable[..., Any] | None = None,
    bitwise: bool = True,
    names: Sequence[str] | None = None,
    name: str | None = None,
    dtypes: Sequence[str] = DTYPES,
    only_dtype: str | None = None,
    modes: bool = True,
    skip: Sequence[str] = (),
    nondiff_argnums: Sequence[int] = (),
    seed: int = 0,
    more: Callable[[Case], None] | None = None,
    progress: Callable[[str], None] = lambda check: None,
    options: Mapping[str, Any] | None = None,
    **more_options: Any,
) -> Report:
    """Run :func:`check_rule`, but return what is wrong in the report instead of raising.

    Args:
        fwd: as in :func:`check_rule`.
        bwd: as in :func:`check_rule`.
        *args: as in :func:`check_rule`.
        op: as in :func:`check_rule`.
        bitwise: False where ``op`` computes the same in another way, equal but for rounding.
        names: what to call the leaves of ``args``; by default as in the signature of ``fwd``.
        name: what to call the rule; by default as ``fwd`` without its ``_fwd``.
        dtypes: as in :func:`check_rule`.
        only_dtype: as in :func:`check_rule`.
        modes: as in :func:`check_rule`.
        skip: as in :func:`check_rule`.
        nondiff_argnums: as in :func:`check_rule`.
        seed: as in :func:`check_rule`.
        more: further checks, run after the modes.
        progress: called with the name of each check before it runs, and with "" at the end.
        options: as in :func:`check_rule`.
        **more_options: as in :func:`check_rule`.
    """
    check_dtypes([*dtypes, *([only_dtype] if only_dtype else [])])
    skipped = frozenset(skip) | (frozenset() if modes else {"modes"})
    for check in skipped - set(CHECKS):
        raise InputError(f"there is no check {check!r} to skip; there are {', '.join(CHECKS)}")
    given = misuse.take_apart(
        fwd, bwd, args, op, {**(options or {}), **more_options}, nondiff_argnums
    )
    bound = tuple(Option(*item) for item in sorted(given.options.items()))
    plain = WithOptions(given.op, bound) if given.op else WithOptions(given.fwd, bound, first=True)
    bitwise = bitwise or given.op is None
    rule = Rule(
        WithOptions(given.fwd, bound), WithOptions(given.bwd, bound), plain, bitwise, skipped
    )
    report = Report(name or getattr(given.fwd, "__name__", "rule").removesuffix("_fwd"))
    report.left_out = tuple(sorted(set(skip)))
    names = names or names_of(given.fwd, given.args)
    with jax.enable_x64(only_dtype is None):
        leaves = Leaves(given.args, names, only_dtype or "float64")
        report.notes += _degenerate(leaves) + _constants(given.options)
        case = Case(rule, leaves, report, np.random.default_rng(seed))
        try:
            if only_dtype:
                _run_checks_in(case, only_dtype)
            else:
                _run_checks(case, dtypes, more, progress)
        except CheckFailed:
            pass  # it is in the report
        finally:
            progress("")
    return report


def _run_checks(
    case: Case,
    dtypes: Sequence[str],
    more: Callable[[Case], None] | None,
    progress: Callable[[str], None],
) -> None:
    """Run the checks in order; each relies on those before it."""
    skip = case.rule.skip
    progress("structure")
    check_structure(case)
    progress("autodiff and differences")
    check_values(case)
    if "differences" not in skip and not case.report.sampled:
        check_taylor(case)
    if "linearity" not in skip:
        check_linearity(case)
    if "modes" not in skip:
        progress("modes")
        check_modes(case)
    if more:
        more(case)
    for dtype in dtypes:
        if not skip & {"dtypes", "autodiff"}:
            progress(dtype)
            check_narrow(case, dtype)
    if "residuals" not in skip:
        _count_residuals(case)


def _run_checks_in(case: Case, dtype: str) -> None:
    """Check a rule in one narrow dtype alone: by the float64 gradient of its plain forward."""
    check_structure(case)
    for name, x in zip(case.leaves.float_names, case.leaves.floats, strict=True):
        case.report.rows.append(Row(name, x.shape, np.nan, np.nan, {}, 0.0, 0.0))
    case.report.notes.append(
        f"checked in {dtype} alone: without differences, linearity, modes and residuals"
    )
    with jax.enable_x64(True):
        check_narrow(case, dtype)
    rows = case.report.rows
    case.report.rows = [replace(r, judged_by_autodiff=float(dtype in r.narrow)) for r in rows]


def _count_residuals(case: Case) -> None:
    """Count the bytes that the rule keeps, and those that autodiff would, in float32."""
    floats = tuple(np.asarray(x, "float32") for x in case.leaves.floats)
    case.report.residual_bytes = oracles.count_bytes(lambda *f: case.rule_fwd(*f)[1], floats)
    if not case.without_autodiff:
        case.report.autodiff_bytes = oracles.kept_bytes(case.plain, floats)


def _degenerate(leaves: Leaves) -> list[str]:
    """Return notes on what these arguments cannot show."""
    notes: list[str] = []
    for i, (name, array) in enumerate(zip(leaves.names, leaves.arrays, strict=True)):
        if array is None or array.size < 2:
            continue
        if i in leaves.places and len(np.unique(array)) == 1:
            notes.append(f"{name} holds one value only: a wrong factor or axis may not show")
        long = [n for n in array.shape if n > 1]
        if i in leaves.places and len(set(long)) < len(long):
            shape = tuple(map(int, array.shape))
            notes.append(
                f"{name} has axes of equal sizes {shape}: one taken for another may not show"
            )
        is_ids = np.issubdtype(array.dtype, np.integer)
        if is_ids and len(np.unique(array)) == array.size:
            notes.append(f"the values of {name} are all different: .set for .add would not show")
    return notes


def _constants(options: Mapping[str, Any]) -> list[str]:
    """Return notes on options that are float arrays, which get no cotangent."""
    return [
        f"the option {name} is a float array and taken as a constant; pass it as an argument if it "
        "has a cotangent"
        for name, value in options.items()
        if jnp.issubdtype(getattr(value, "dtype", bool), jnp.floating)
    ]
