"""The expansion of hijax primitives: the oracle for the rules that they define."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend import core

from jaxmore.errors import InputError
from jaxmore.testing.oracles.autodiff import bind


def primitives_in(function: Callable[..., Any], args: Sequence[Any]) -> list[Any]:
    """Return the hijax primitives that a function applies, those inside ``jax.jit`` too.

    Raises:
        InputError: if one is inside another transformation, such as ``scan`` or ``cond``.
    """
    found: list[Any] = []

    def walk(graph: core.ClosedJaxpr) -> None:
        for equation in graph.jaxpr.eqns:
            primitive = _primitive_of(equation)
            if primitive is not None:
                found.append(primitive)
            elif inner := _inlined(equation):
                walk(inner)

    walk(jax.make_jaxpr(function)(*args))
    return found


def expanded(function: Callable[..., Any], *args: Any) -> Any:
    """Return ``function(*args)`` with each hijax primitive replaced by its ``expand``.

    So JAX differentiates and maps the operations of ``expand``, and not the primitive's own rules;
    those that ``expand`` applies are replaced, too.

    Raises:
        InputError: if one is inside another transformation, such as ``scan`` or ``cond``.
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
        primitive, inner = _primitive_of(equation), _inlined(equation)
        if primitive is not None:
            args = jax.tree.unflatten(primitive.in_tree, operands)
            outs = jax.tree.leaves(expanded(primitive.expand, *args))
        else:
            outs = _evaluate(inner, operands) if inner else bind(equation, operands)
        values |= dict(zip(equation.outvars, outs, strict=True))
    return [read(atom) for atom in graph.jaxpr.outvars]


def _primitive_of(equation: core.JaxprEqn) -> Any:
    """Return the hijax primitive that an equation applies, or None."""
    if equation.primitive.name != "call_hi_primitive":
        return None
    return equation.params.get("_prim", equation.params.get("prim"))  # the latter up to jax 0.10


def _inlined(equation: core.JaxprEqn) -> core.ClosedJaxpr | None:
    """Return the program of a jitted function; refuse a primitive inside any other equation."""
    name = equation.primitive.name
    if name in ("jit", "pjit"):
        return equation.params["jaxpr"]
    if _primitive_of(equation) is None and any(map(_applies_primitive, _programs_of(equation))):
        raise InputError(
            f"a hijax primitive inside {name} cannot be checked there; check the function that "
            "applies it by itself"
        )
    return None


def _programs_of(equation: core.JaxprEqn) -> list[Any]:
    """Return the programs that an equation runs: the body of a loop, the branches of a cond."""
    leaves = jax.tree.leaves(equation.params)
    programs = [x for x in leaves if isinstance(x, core.Jaxpr | core.ClosedJaxpr)]
    return [getattr(program, "jaxpr", program) for program in programs]


def _applies_primitive(program: Any) -> bool:
    return any(
        _primitive_of(equation) is not None or any(map(_applies_primitive, _programs_of(equation)))
        for equation in program.eqns
    )
