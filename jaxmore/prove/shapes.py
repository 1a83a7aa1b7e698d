"""Whether a proof at one shape holds at every shape: the argument for elementwise rules.

If every operation of forward and backward takes element i of its operands to element i of its
result, then y_i = f(x_i) and dx_i = g(x_i, dy_i) with the same f and g for every i. The proof shows
g = f' dy at random points, and says nothing about how many elements there are.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

from jaxmore.prove import elementwise
from jaxmore.prove.interpreter import HANDLERS
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
    """List the operations of forward and backward; None if one is not elementwise."""
    found: list[Any] = []
    for jaxpr in (program.fwd, program.bwd):
        if any(np.shape(const) for const in jaxpr.consts):  # each element has one of its own
            return None
        for equation in _equations(jaxpr.jaxpr):
            atoms: Sequence[Any] = [*equation.invars, *equation.outvars]
            name = equation.primitive.name
            spreads = name == "broadcast_in_dim" and equation.invars[0].aval.shape == ()
            if name not in ELEMENTWISE and not spreads:
                return None
            if any(a.aval.shape not in ((), shape) for a in atoms):
                return None
            literals = [float(a.val) for a in atoms if isinstance(a, core.Literal)]
            found.append((name, equation.params.get("y"), literals))
    return found


def _equations(jaxpr: Any) -> Iterator[Any]:
    """Yield the equations, those of called functions in their place."""
    for equation in jaxpr.eqns:
        called = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
        if called is None:
            yield equation
        else:
            yield from _equations(getattr(called, "jaxpr", called))
