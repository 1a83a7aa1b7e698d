"""Whether a proof at one shape holds at every shape: the argument for elementwise rules.

If every operation of forward and backward takes element i of its operands to element i of its
result, then y_i = f(x_i) and dx_i = g(x_i, dy_i) with the same f and g for every i. The proof shows
g = f' dy at random points, and says nothing about how many elements there are. It holds wherever
the rule is this program; a rule may choose another one by its shape, so some shapes are tried.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

from jaxmore.prove import elementwise
from jaxmore.prove.interpreter import HANDLERS, closed
from jaxmore.prove.program import Program

ELEMENTWISE = {
    name for name, handler in HANDLERS.items() if handler.__module__ == elementwise.__name__
}
SHAPES = ((1,), (7,), (5, 3))
"""The program must be the same at these, besides the shape that is proved."""


def holds_at_every_shape(
    fwd: Callable[..., Any], bwd: Callable[..., Any], program: Program
) -> bool:
    """Whether the rule is elementwise, and is the same program at other shapes.

    Args:
        fwd: the forward function.
        bwd: the backward function.
        program: their programs at the shape that is proved.
    """
    shapes = {x.shape for x in program.floats}
    if len(shapes) != 1 or not all(program.is_float):
        return False
    here = _operations(program, *shapes)
    if here is None:
        return False
    for shape in SHAPES:
        args = [np.zeros(shape) for _ in program.floats]
        try:
            other = Program(fwd, bwd, None, jax.tree.unflatten(program.tree, args))
        except (Exception, SystemExit):  # whatever the rule raises at a shape that it refuses
            return False
        if _operations(other, shape) != here:
            return False
    return True


def _operations(program: Program, shape: tuple[int, ...]) -> list[Any] | None:
    """List the operations and their operands; None if one is not elementwise.

    An operand is named by the operation that made it, an input by its place, a number by itself.
    """
    found: list[Any] = []
    for jaxpr in (program.fwd, program.bwd):
        try:
            _follow(jaxpr.jaxpr, jaxpr.consts, range(len(jaxpr.in_avals)), shape, found)
        except _NotElementwise:
            return None
    return found


class _NotElementwise(Exception):
    """An operation takes an element to another place, or has one number for each element."""


def _follow(
    jaxpr: Any, consts: Sequence[Any], args: Iterable[Any], shape: tuple[int, ...], found: list[Any]
) -> list[Any]:
    """Append the operations of a jaxpr, those of called functions in their place."""
    names: dict[Any, Any] = dict(zip(jaxpr.invars, args, strict=True))
    for variable, const in zip(jaxpr.constvars, consts, strict=True):
        if np.shape(const):
            raise _NotElementwise
        names[variable] = ("number", float(const))

    def name_of(atom: Any) -> Any:
        return ("number", float(atom.val)) if isinstance(atom, core.Literal) else names[atom]

    for equation in jaxpr.eqns:
        operands = [name_of(atom) for atom in equation.invars]
        called = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
        if called is not None:
            inner = closed(called)
            outs = _follow(inner.jaxpr, inner.consts, operands, shape, found)
        else:
            name, params = equation.primitive.name, equation.params
            spreads = name == "broadcast_in_dim" and equation.invars[0].aval.shape == ()
            atoms = [*equation.invars, *equation.outvars]
            if not (name in ELEMENTWISE or spreads) or any(
                atom.aval.shape not in ((), shape) for atom in atoms
            ):
                raise _NotElementwise
            found.append((name, operands, "" if spreads else repr(sorted(params.items()))))
            outs = [("result", len(found), i) for i in range(len(equation.outvars))]
        names |= dict(zip(equation.outvars, outs, strict=True))
    results = [name_of(atom) for atom in jaxpr.outvars]
    found.append(("return", results))
    return results
