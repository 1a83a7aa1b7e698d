"""Whether forward mode and single gradients of a hijax primitive agree with its reverse mode."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmore.drop_in import HiPrim
from jaxmore.testing import oracles
from jaxmore.testing.case import Case, all_numpy
from jaxmore.testing.judgement import AUTODIFF, WOBBLES, difference, share
from jaxmore.testing.misuse import explained
from jaxmore.testing.modes import disagreement
from jaxmore.testing.narrow import round_to
from jaxmore.testing.oracles.compiled import jit_quickly


def check_single_gradients(case: Case, function: Callable[..., Any]) -> None:
    """Check the cotangent of one argument alone, and those through one output alone.

    The primitive then meets symbolic zeros: tangents of the other arguments, or cotangents of the
    other outputs.
    """
    floats, dy, whole = case.leaves.floats, case.dys[0], list(case.jitted[0])

    def of_argument(i: int, floats: Any, dy: Any) -> Any:
        return oracles.cotangents(of_some(function, floats, [i]), [floats[i]], dy)[0]

    def through_output(i: int, floats: Any, dy: Any) -> Any:
        return oracles.cotangents(lambda *floats: function(*floats)[i], floats, dy[i])

    for i, name in enumerate(case.leaves.float_names if len(floats) > 1 else []):
        run = jit_quickly(partial(of_argument, i))
        alone = case.attempt("modes", f"for {name} alone", run, floats, dy)
        got = [*whole[:i], alone, *whole[i + 1 :]]
        case.report.problems += disagreement(case, f"the gradient of {name} alone", got, whole)
    if len(dy) > 1:
        runs = [jit_quickly(partial(through_output, i)) for i in range(len(dy))]
        parts = [
            case.attempt("modes", f"through output {i} alone", run, floats, dy)
            for i, run in enumerate(runs)
        ]
        total = [np.sum(pieces, axis=0) for pieces in zip(*parts, strict=True)]
        case.report.problems += disagreement(case, "the sum over single outputs", total, whole)
    case.stop_if_wrong()


def of_some(function: Callable[..., Any], floats: Sequence[Any], places: list[int]) -> Any:
    """Return a function of some of its arguments, with the others fixed."""

    def applied(*some: Any) -> Any:
        whole = list(floats)
        for i, x in zip(places, some, strict=True):
            whole[i] = x
        return function(*whole)

    return applied


def check_forward_mode(case: Case, function: Callable[..., Any], dtypes: Sequence[str]) -> bool:
    """Check that forward mode is dual to reverse mode; return whether there is a ``jvp``."""
    provided = _check_dual(case, function, "jvp", oracles.pushed)
    case.stop_if_wrong()
    if hasattr(HiPrim, "lin"):  # jax 0.9 has no lin
        _check_dual(case, function, "linearize", oracles.linearized)
    for dtype in dtypes if provided else ():
        _check_tangent_dtypes(case, function, dtype)
    case.stop_if_wrong()
    return provided


def _check_dual(
    case: Case, function: Callable[..., Any], mode: str, push: Callable[..., Any]
) -> bool:
    """Check that ⟨dy, J v⟩ by a forward mode equals ⟨Jᵀ dy, v⟩; return whether it is provided."""
    floats = case.leaves.floats
    vs = [jnp.asarray(case.random.normal(size=x.shape), x.dtype) for x in floats]
    everywhere = list(range(len(floats)))
    for places in [everywhere, *([i] for i in everywhere if len(floats) > 1)]:
        along = "" if places == everywhere else f" along {case.leaves.float_names[places[0]]} alone"
        run = jit_quickly(partial(push, of_some(function, floats, places)))
        try:
            y, tangent = run([floats[i] for i in places], [vs[i] for i in places])
        except Exception as error:  # whatever a user's primitive raises
            if not is_missing(error):
                case.add("jvp", f"{mode}{along} fails: {explained(error)}")
                continue
            case.report.not_provided.append(f"{mode}{along}")
            if places == everywhere:
                return False
        else:
            _compare_dual(case, f"{mode}{along}", places, vs, y, tangent)
    return True


def _compare_dual(
    case: Case, mode: str, places: list[int], vs: Sequence[Any], y: Any, tangent: Any
) -> None:
    if types_of(tangent) != types_of(y):
        case.add("jvp", f"{mode}: the tangent is {types_of(tangent)}, not {types_of(y)}")
        return
    for a, b in zip(all_numpy(y), all_numpy(case.floats_of(case.y)), strict=True):
        if not (difference(a, b) <= AUTODIFF * np.abs(b).max(initial=0)).all():
            case.add("jvp", f"{mode} returns another value than expand")
            return
    pairs = zip(all_numpy(case.dys[0]), all_numpy(tangent), strict=True)
    pushed = sum(float((dy * t).sum()) for dy, t in pairs)
    pulled, scale, wobble = (
        sum(float((np.asarray(arrays[i]) * weigh(np.asarray(vs[i]))).sum()) for i in places)
        for arrays, weigh in (
            (case.jitted[0], np.asarray),
            (case.scales[0], np.abs),
            (case.wobbles, np.abs),
        )
    )
    off = abs(pushed - pulled)
    case.report.dual = max(case.report.dual or 0.0, share(np.asarray(off), scale))
    if not off <= AUTODIFF * scale + WOBBLES * wobble:
        case.add(
            "jvp",
            f"{mode} is not dual to vjp: ⟨dy, J v⟩ is {pushed:.9g}, ⟨Jᵀ dy, v⟩ is {pulled:.9g}",
        )


def is_missing(error: Exception) -> bool:
    """Return whether an error is JAX's for a rule that the primitive does not define."""
    words = r"for \w+ support, subclass .* must implement"
    return isinstance(error, NotImplementedError) and bool(re.match(words, str(error)))


def types_of(arrays: Sequence[Any]) -> str:
    """Format the dtypes and shapes of arrays."""
    return ", ".join(f"{a.dtype}{list(a.shape)}" for a in arrays)


def _check_tangent_dtypes(case: Case, function: Callable[..., Any], dtype: str) -> None:
    """Check that ``jvp`` keeps a narrower dtype."""
    floats = [round_to(x, dtype) for x in case.leaves.floats]
    with jax.enable_x64(False):
        try:
            jax.eval_shape(case.plain, *floats)
        except Exception:  # the forward has no such dtype, as check_narrow will say
            return
        try:
            y, tangent = jax.eval_shape(partial(oracles.pushed, function), floats, floats)
        except Exception as error:  # whatever a user's primitive raises
            case.add("dtypes", f"jvp fails in {dtype}: {explained(error)}")
            return
    if types_of(tangent) != types_of(y):
        case.add("dtypes", f"jvp: the tangent is {types_of(tangent)}, not {types_of(y)}")
