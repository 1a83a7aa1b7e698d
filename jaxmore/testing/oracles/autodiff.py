"""The oracles that use JAX's own autodiff. No other file of the package calls it."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
from jaxtyping import Array


def intermediate_cotangents(
    forward: Callable[..., Any], params: Any, *data: Array
) -> tuple[Any, Any]:
    """Compute the cotangents of a network's intermediates, as torch's ``retain_grad`` does.

    Every intermediate gets a zero added where it is made. The loss as a function of these
    zeros has the intermediates' cotangents as its gradient.

    Args:
        forward: maps ``(params, *data)`` to a NamedTuple of intermediates, the loss last.
        params: the parameters.
        *data: arrays that get no cotangent.

    Returns:
        The cotangents of the parameters, and those of the intermediates (the loss's own is 1).
        Where elements tie for a maximum, ``jax.numpy.max`` splits its cotangent among them.
    """
    loss, zeros = loss_of_offsets(forward, params, *data)
    value, vjp = jax.vjp(loss, params, zeros)
    return vjp(jnp.ones_like(value))


def loss_of_offsets(
    forward: Callable[..., Any], params: Any, *data: Array
) -> tuple[Callable[[Any, Any], Array], Any]:
    """Return a network's loss as a function of its parameters and of offsets to intermediates.

    Args:
        forward: maps ``(params, *data)`` to a NamedTuple of intermediates, the loss last.
        params: the parameters.
        *data: arrays that get no cotangent.

    Returns:
        The function, and the offsets that change nothing: zeros.
    """
    forward = inspect.unwrap(forward)  # a jitted function would be a single equation
    graph, shapes = jax.make_jaxpr(forward, return_shape=True)(params, *data)

    def loss(params: Any, offsets: Any) -> Array:
        inputs = jax.tree.leaves((params, *data))
        return _evaluate(graph, inputs, dict(zip(graph.jaxpr.outvars, offsets, strict=True)))[-1]

    return loss, jax.tree.map(jnp.zeros_like, shapes)


def _evaluate(
    graph: jax.extend.core.ClosedJaxpr, inputs: list[Array], offsets: dict[Any, Array]
) -> list[Array]:
    """Evaluate a jaxpr, adding an offset to each of some variables when it is computed."""
    values = dict(zip(graph.jaxpr.invars, inputs, strict=True))
    values |= dict(zip(graph.jaxpr.constvars, graph.consts, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, jax.extend.core.Literal) else values[atom]

    for equation in graph.jaxpr.eqns:
        out = bind(equation, [read(atom) for atom in equation.invars])
        for name, value in zip(equation.outvars, out, strict=True):
            values[name] = value + offsets[name] if name in offsets else value
    return [read(atom) for atom in graph.jaxpr.outvars]


def bind(equation: jax.extend.core.JaxprEqn, operands: Sequence[Any]) -> list[Any]:
    """Evaluate one equation of a jaxpr."""
    bound: Any = equation.primitive.get_bind_params(equation.params)
    # Up to jax 0.10 the functions that a primitive calls stand apart from its options.
    functions, options = bound if isinstance(bound, tuple) else ((), bound)
    out = equation.primitive.bind(*functions, *operands, **options)
    return list(out) if equation.primitive.multiple_results else [out]


def cotangents(function: Callable[..., Any], inputs: Sequence[Any], dy: Any) -> tuple[Any, ...]:
    """Return the cotangents of ``function``'s inputs by ``jax.vjp``, given that of its value."""
    return jax.vjp(function, *inputs)[1](dy)


def value_and_grad(function: Callable[..., Any], params: Any) -> tuple[Any, Any]:
    """Apply ``jax.value_and_grad`` to a function of a tree."""
    return jax.value_and_grad(function)(params)


def second_order(
    function: Callable[..., Any], inputs: Sequence[Any], dy: Any, directions: Sequence[Any]
) -> tuple[Any, ...]:
    """Return the gradient of <directions, cotangents>, by reverse mode over reverse mode."""
    return cotangents(partial(_first_order, function, dy), inputs, tuple(directions))


def _first_order(function: Callable[..., Any], dy: Any, *inputs: Any) -> tuple[Any, ...]:
    return cotangents(function, inputs, dy)


def through_checkpoint(
    function: Callable[..., Any], inputs: Sequence[Any], dy: Any
) -> tuple[Any, ...]:
    """Return the cotangents, recomputing the forward pass in the backward pass."""
    return cotangents(jax.checkpoint(function), inputs, dy)


def through_scan(function: Callable[..., Any], inputs: Sequence[Any], dys: Any) -> tuple[Any, ...]:
    """Return the sum of the cotangents for several stacked dy, one ``lax.scan`` step for each."""
    length = jax.tree.leaves(dys)[0].shape[0]

    def repeated(*inputs: Any) -> Any:
        return jax.lax.scan(lambda c, _: (c, function(*inputs)), None, None, length=length)[1]

    return cotangents(repeated, inputs, dys)


def kept_bytes(function: Callable[..., Any], inputs: Sequence[Any]) -> int:
    """Count the bytes that ``jax.vjp`` keeps from the forward pass for the backward pass."""
    return count_bytes(lambda *inputs: jax.vjp(function, *inputs)[1], inputs)


def count_bytes(function: Callable[..., Any], inputs: Sequence[Any]) -> int:
    """Count the bytes of the distinct arrays that a function returns, without computing them."""
    outs = jax.make_jaxpr(function)(*inputs).jaxpr.outvars
    arrays = {out for out in outs if not isinstance(out, jax.extend.core.Literal)}
    return sum(a.aval.size * a.aval.dtype.itemsize for a in arrays)


def pushed(
    function: Callable[..., Any], inputs: Sequence[Any], directions: Sequence[Any]
) -> tuple[Any, Any]:
    """Return the value of ``function`` and its tangent, by ``jax.jvp``."""
    return jax.jvp(function, tuple(inputs), tuple(directions))


def linearized(
    function: Callable[..., Any], inputs: Sequence[Any], directions: Sequence[Any]
) -> tuple[Any, Any]:
    """Return the value of ``function`` and its tangent, by ``jax.linearize``."""
    value, push = jax.linearize(function, *inputs)
    return value, push(*directions)


def forward_over_reverse(
    function: Callable[..., Any], inputs: Sequence[Any], dy: Any, directions: Sequence[Any]
) -> tuple[Any, ...]:
    """Return what :func:`second_order` returns, by forward mode over reverse mode."""
    return pushed(partial(_first_order, function, dy), inputs, directions)[1]


def reverse_over_forward(
    function: Callable[..., Any], inputs: Sequence[Any], dy: Any, directions: Sequence[Any]
) -> tuple[Any, ...]:
    """Return what :func:`second_order` returns, by reverse mode over forward mode."""

    def tangent(*inputs: Any) -> Any:
        return pushed(function, inputs, directions)[1]

    return cotangents(tangent, inputs, dy)
