"""Control flow: calls, branches and loops, which are followed step by step."""

from typing import Any

import jax
import numpy as np

from jaxmore.jaxprs import scan_sizes
from jaxmore.prove.cells import Cell, places
from jaxmore.prove.interpreter import Interpreter, closed, frames_of, handles, is_users, real
from jaxmore.prove.residues import NotProved


@handles("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat2")
def _call(run: Interpreter, *args: Any, jaxpr: Any, name: str = "", **_: Any) -> list[Any]:
    """The body, whose lines are that of the call where the function is one of JAX's.

    JAX traces its own functions once, so their operations name the line that called them first.
    """
    caller = run.caller
    named = name.startswith("_") or hasattr(jax.numpy, name) or hasattr(jax.nn, name)
    if named and not _is_users(closed(jaxpr).jaxpr, name):
        run.caller = run.place
    outs = run.run(closed(jaxpr), args)
    run.caller = caller
    return outs


def _is_users(jaxpr: Any, name: str) -> bool:
    """Whether the user's code defines the function of this name that made the operations."""
    for equation in jaxpr.eqns:
        for frame in frames_of(equation):  # the innermost first
            if frame.function_name.rpartition(".")[2] == name:
                if is_users(frame):
                    return True
                break
    return False


@handles("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")
def _custom(run: Interpreter, *args: Any, **params: Any) -> list[Any]:
    """The function itself: its own derivative rule is not believed."""
    jaxpr = params.get("call_jaxpr", params.get("fun_jaxpr", params.get("jaxpr")))
    return run.run(closed(jaxpr), args)


@handles("cond")
def _cond(run: Interpreter, which: Any, *args: Any, branches: Any, **_: Any) -> list[Any]:
    i = int(np.clip(real(which), 0, len(branches) - 1))
    run.note_choice(len(branches), {i})
    return run.run(branches[i], args)


@handles("while")
def _while(
    run: Interpreter, *args: Any, cond_jaxpr: Any, body_jaxpr: Any, cond_nconsts: int,
    body_nconsts: int,
) -> list[Any]:  # fmt: skip
    of_cond, rest = args[:cond_nconsts], args[cond_nconsts:]
    of_body, state = rest[:body_nconsts], list(rest[body_nconsts:])
    place = run.place
    depth = len(run.path)
    for _ in range(10_000):
        before, run.compared = run.compared, {}
        (more,) = run.run(cond_jaxpr, [*of_cond, *state])
        run.looped |= {place} if run.compared else set()
        run.compared = before
        if not real(more):
            if any(path[:depth] == run.path for path in run.compared):  # in the body
                run.looped.add(place)
            return state
        state = run.run(body_jaxpr, [*of_body, *state])
    raise NotProved("the loop takes more than 10,000 steps")


@handles("scan")
def _scan(
    run: Interpreter, *args: Any, jaxpr: Any, length: int, reverse: bool, **params: Any
) -> list[Any]:
    n_consts, n_carry = scan_sizes(params)
    consts, rest = args[:n_consts], args[n_consts:]
    carry, xs = list(rest[:n_carry]), rest[n_carry:]
    rows: list[list[Any]] = []
    for t in reversed(range(length)) if reverse else range(length):
        row = [x.take(places(x.real.shape)[t]) if isinstance(x, Cell) else x[t] for x in xs]
        outs = run.run(jaxpr, [*consts, *carry, *row])
        carry, ys = outs[:n_carry], outs[n_carry:]
        rows.append(ys)
    rows = rows[::-1] if reverse else rows
    return carry + [_stack(run, list(column)) for column in zip(*rows, strict=True)]


def _stack(run: Interpreter, column: list[Any]) -> Any:
    if not any(isinstance(c, Cell) for c in column):
        return jax.numpy.stack(column)
    shape = (len(column), *real(column[0]).shape)
    return run.join([run.lift(c) for c in column]).take(places(shape))
