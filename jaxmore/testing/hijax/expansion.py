"""The expansion of hijax primitives: the oracle for the rules that they define."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend import core

from jaxmore.testing.oracles.autodiff import bind


def primitives_in(function: Callable[..., Any], args: Sequence[Any]) -> list[Any]:
    """Return the hijax primitives that a function applies, those inside ``jax.jit`` too."""
    found: list[Any] = []

    def walk(graph: core.ClosedJaxpr) -> None:
        for equation in graph.jaxpr.eqns:
            primitive = _primitive_of(equation)
            if primitive is not None:
                found.append(primitive)
            elif inner := _jitted(equation):
                walk(inner)

    walk(jax.make_jaxpr(function)(*args))
    return found


def expanded(function: Callable[..., Any], *args: Any) -> Any:
    """Return ``function(*args)`` with each hijax primitive replaced by its ``expand``.

    So JAX differentiates and maps the operations of ``expand``, and not the primitive's own rules.
    """
    graph, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
    return jax.tree.unflatten(jax.tree.structure(shapes), _evaluate(graph, jax.tree.leaves(args)))


def _evaluate(graph: core.ClosedJaxpr, inputs: Sequence[Any]) -> list[Any]:
    values = dict(zip(graph.jaxpr.invars, inputs, strict=True))
    values |= dict(zip(graph.jaxpr.constvars, graph.consts, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for equation in graph.jaxpr.eqns:
        operands = [read(atom) for atom in equation.invars]
        primitive, inner = _primitive_of(equation), _jitted(equation)
        if primitive is not None:
            args = jax.tree.unflatten(primitive.in_tree, operands)
            outs = jax.tree.leaves(primitive.expand(*args))
        else:
            outs = _evaluate(inner, operands) if inner else bind(equation, operands)
        values |= dict(zip(equation.outvars, outs, strict=True))
    return [read(atom) for atom in graph.jaxpr.outvars]


def _primitive_of(equation: core.JaxprEqn) -> Any:
    """Return the hijax primitive that an equation applies, or None."""
    if equation.primitive.name != "call_hi_primitive":
        return None
    return equation.params.get("_prim", equation.params.get("prim"))  # the latter up to jax 0.10


def _jitted(equation: core.JaxprEqn) -> core.ClosedJaxpr | None:
    return equation.params["jaxpr"] if equation.primitive.name in ("jit", "pjit") else None
