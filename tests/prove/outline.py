"""The operations of a program, listed so that programs at several sizes of an axis are compared."""

import re
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from jax.extend import core

from jaxmore.prove.interpreter import closed
from jaxmore.prove.program import Program
from jaxmore.prove.residues import NotProved
from jaxmore.prove.shapes import ELEMENTWISE

CALLS = {"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call"}
MOVES = {"broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose"}
SUMS = {"reduce_sum", "dot_general"}
BY_ORDER = {"lt", "le", "gt", "ge", "sign", "floor"}


def outline(program: Program, n: int, m: int = 0) -> list[str]:
    """List the operations on an axis of n places; n is the letter N, and m is M."""
    lines = list[str]()
    for equation, line in _lines(program):
        named = re.sub(rf"\b{m or n}\b", "M", re.sub(rf"\b{n}\b", "N", line))
        if named != line and equation:
            avals = [v.aval for v in (*equation.invars, *equation.outvars)]
            _only_whole(equation, avals, n, m or n)
        lines.append(named)
    return lines


def is_outlined(program: Program, lines: Sequence[str], n: int, m: int) -> bool:
    """Whether a program with n places on the axis has an outline."""
    filled = [re.sub(r"\bM\b", str(m), re.sub(r"\bN\b", str(n), line)) for line in lines]
    return filled == [line for _, line in _lines(program)]


def _lines(program: Program) -> Iterator[tuple[Any, str]]:
    """Yield the operations with their operands, parameters and shapes, those of calls in place."""
    numbers = count()

    def follow(jaxpr: Any, args: Sequence[str]) -> Iterator[tuple[Any, str]]:
        names = dict(zip(jaxpr.invars, args, strict=True))
        names |= {v: f"constant{i}" for i, v in enumerate(jaxpr.constvars)}

        def name_of(atom: Any) -> str:
            if not isinstance(atom, core.Literal):
                return names[atom]
            # The floats may depend on n: _constants compares them.
            return "a float" if atom.aval.dtype.kind == "f" else str(atom.val)

        for equation in jaxpr.eqns:
            operands, params = [name_of(a) for a in equation.invars], dict(equation.params)
            if equation.primitive.name in CALLS:
                inner = params.get("jaxpr", params.get("call_jaxpr", params.get("fun_jaxpr")))
                body = closed(inner).jaxpr
                yield from follow(body, operands)
                names |= {v: results.pop(0) for v in equation.outvars}
                continue
            names |= {v: f"v{next(numbers)}" for v in equation.outvars}
            avals = [v.aval for v in (*equation.invars, *equation.outvars)]
            line = f"{equation.primitive.name} {avals} {operands} {sorted(params.items())}"
            yield equation, re.sub(" at 0x[0-9a-f]+", "", line)
        results[:] = [name_of(atom) for atom in jaxpr.outvars]

    results = list[str]()
    for j in (program.fwd, program.bwd, program.op):
        yield from follow(j.jaxpr, [f"v{next(numbers)}" for _ in j.jaxpr.invars])
        yield None, f"return {results}"


def _only_whole(equation: Any, avals: list[Any], n: int, m: int) -> None:
    """Raise where an operation takes apart, reorders, ranks or cuts the axis.

    It may be joined with the m − n places of another axis, and parted from them.
    """
    name, params = equation.primitive.name, equation.params
    at = [d for d, size in enumerate(avals[0].shape) if size in (n, m)]
    if name in BY_ORDER and any(aval.dtype.kind == "f" for aval in avals[:-1]):
        whole = False
    elif name == "reduce":
        whole = {e.primitive.name for e in params["jaxpr"].eqns} <= {"gt", "max", "select_n"}
    elif name in ELEMENTWISE | MOVES | SUMS or name in ("reduce_max", "iota"):
        sizes = [[d for d in aval.shape if d != 1] for aval in avals]
        whole = name != "reshape" or sizes[0] == sizes[-1]
    elif name == "slice":
        cuts = [(params["start_indices"][d], params["limit_indices"][d]) for d in at]
        whole = {*cuts} <= {(0, n), (n, m), (0, m)}
    elif name == "concatenate":
        sizes = [aval.shape[params["dimension"]] for aval in avals]
        whole = params["dimension"] not in at or sizes == [n, m - n, m]
    elif name == "pad":
        whole = all(params["padding_config"][d] == (0, 0, 0) for d in at)
    elif name == "split":
        whole = params["axis"] not in at or params["sizes"] == (n, m - n)
    else:
        whole = name == "cumsum" and params["axis"] not in at
    if not whole:
        raise NotProved(f"{name} on the axis")
