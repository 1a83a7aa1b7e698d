"""The condition scale of a gradient: the sum that makes it, taken over absolute terms.

A gradient is a sum of products. Its rounding error is a small multiple of the same sum over
absolute terms, also where the terms cancel (a bias before BatchNorm has gradient zero by
identity, and a scale of its own). A wrong gradient is told from rounding by that scale alone.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from jaxmore.jaxprs import scan_sizes
from jaxmore.testing.oracles.autodiff import bind, loss_of_offsets

# Equations that only call others: followed inside. (custom_jvp stays whole: it has a rule.)
CALLS = ("jit", "pjit", "closed_call", "remat", "remat2", "checkpoint", "custom_vjp_call")
# The magnitude of a sum is the sum of the magnitudes, and these only move or scale it.
SUMS = ("add", "add_any", "sub", "one_minus_square", "dot_general", "reduce_sum", "cumsum")
MOVES = (
    "neg", "mul", "broadcast_in_dim", "convert_element_type", "reshape", "squeeze", "transpose",
)  # fmt: skip


def condition_scales(
    function: Callable[..., Any], inputs: Sequence[Any], cotangent: Any
) -> list[Any]:
    """Compute the gradient's sum over absolute terms, for each input.

    The backward pass of ``function`` is followed equation by equation. The values of the forward
    pass count as exact. The derivative of an equation may be a sum in itself, 1 − y² for tanh:
    what its terms exceed it by counts once, and is not multiplied up from step to step.

    Args:
        function: of float arrays alone, with a tree of float arrays as its value.
        inputs: the arrays.
        cotangent: a tree like the function's value.

    Returns:
        Arrays >= 0, one for each input.
    """
    graph = jax.make_jaxpr(function)(*inputs)
    tape = _Tape()
    outs = tape.run(graph, [_Value(x, i) for i, x in enumerate(map(jnp.asarray, inputs))])
    scales: dict[int, _Scale] = {}
    for out, dout in zip(outs, jax.tree.leaves(cotangent), strict=True):
        _add(scales, out.place, _Scale(jnp.abs(dout), jnp.abs(dout)))
    for equation in reversed(tape.equations):
        equation.pull_back(scales)
    return [scales[i].total if i in scales else jnp.zeros_like(x) for i, x in enumerate(inputs)]


def intermediate_scales(forward: Callable[..., Any], params: Any, *data: Any) -> tuple[Any, Any]:
    """Compute the scale of every cotangent that ``intermediate_cotangents`` gives, in its trees."""
    loss, zeros = loss_of_offsets(forward, params, *data)
    leaves, tree = jax.tree.flatten((params, zeros))
    of_leaves = condition_scales(
        lambda *leaves: loss(*jax.tree.unflatten(tree, leaves)), leaves, jnp.ones_like(zeros[-1])
    )
    return jax.tree.unflatten(tree, of_leaves)


class _Value(NamedTuple):
    """A value of the forward pass, and its place on the tape if it depends on an input."""

    array: Any
    place: int | None = None


class _Scale(NamedTuple):
    """The sum over absolute terms, with exact derivatives and with those taken term by term."""

    exact: Any
    total: Any


def _add(scales: dict[int, _Scale], place: int | None, scale: _Scale) -> None:
    if place is not None:
        scales[place] = jax.tree.map(jnp.add, scales[place], scale) if place in scales else scale


def _body(equation: core.JaxprEqn) -> core.ClosedJaxpr:
    params = equation.params
    body: Any = params["jaxpr"] if "jaxpr" in params else params["call_jaxpr"]
    return body if isinstance(body, core.ClosedJaxpr) else core.ClosedJaxpr(body, ())


class _Equation(NamedTuple):
    """One differentiable step of the forward pass."""

    source: core.JaxprEqn
    operands: list[_Value]
    outs: list[_Value]

    def pull_back(self, scales: dict[int, _Scale]) -> None:
        """Send the outputs' scales on to the operands, through the absolute derivative."""
        active = [i for i, operand in enumerate(self.operands) if operand.place is not None]
        if not any(out.place in scales for out in self.outs):
            return

        def step(*changed: Any) -> list[Any]:
            operands = [operand.array for operand in self.operands]
            for i, x in zip(active, changed, strict=True):
                operands[i] = x
            return bind(self.source, operands)

        primals = tuple(self.operands[i].array for i in active)
        graph = jax.make_jaxpr(lambda *ts: jax.jvp(step, primals, ts)[1])(*primals)

        def derivative(coefficients: "_Absolute", *tangents: Any) -> list[Any]:
            terms = coefficients.run(graph, [_Term(t, t, linear=True) for t in tangents])
            return [t.magnitude if t.linear else jnp.zeros_like(t.value) for t in terms]

        exact, by_terms = _Absolute(by_terms=False), _Absolute(by_terms=True)
        zeros = [jnp.zeros_like(x) for x in primals]
        outs = [
            scales[out.place] if out.place in scales else _Scale(nothing, nothing)
            for out in self.outs
            for nothing in [jnp.zeros_like(out.array)]
        ]
        _, transpose = jax.vjp(partial(derivative, exact), *zeros)
        sizes = transpose([out.exact for out in outs])
        totals = transpose([out.total for out in outs])
        if exact.met_sums:
            _, transpose = jax.vjp(partial(derivative, by_terms), *zeros)
            excess = map(jnp.subtract, transpose([out.exact for out in outs]), sizes)
            totals = map(jnp.add, totals, excess)
        for i, size, total in zip(active, sizes, totals, strict=True):
            _add(scales, self.operands[i].place, _Scale(size, total))


class _Tape:
    """Runs a graph forward and keeps its differentiable equations in order, calls unfolded."""

    def __init__(self) -> None:
        self.equations: list[_Equation] = []
        self._places = 1 << 32  # above those of the inputs

    def run(self, graph: core.ClosedJaxpr, inputs: Sequence[_Value]) -> list[_Value]:
        values = dict(zip(graph.jaxpr.invars, inputs, strict=True))
        values |= {v: _Value(c) for v, c in zip(graph.jaxpr.constvars, graph.consts, strict=True)}

        def read(atom: Any) -> _Value:
            return _Value(atom.val) if isinstance(atom, core.Literal) else values[atom]

        for equation in graph.jaxpr.eqns:
            outs = self._step(equation, [read(atom) for atom in equation.invars])
            values |= dict(zip(equation.outvars, outs, strict=True))
        return [read(atom) for atom in graph.jaxpr.outvars]

    def _step(self, equation: core.JaxprEqn, operands: list[_Value]) -> list[_Value]:
        name = equation.primitive.name
        if all(operand.place is None for operand in operands):
            return [_Value(out) for out in bind(equation, [o.array for o in operands])]
        if name in CALLS:
            return self.run(_body(equation), operands)
        if name == "scan":
            return self._unrolled(equation, operands)
        outs: list[_Value] = []
        for out in bind(equation, [o.array for o in operands]):
            self._places += 1
            is_float = jnp.issubdtype(out.dtype, jnp.inexact)
            outs.append(_Value(out, self._places if is_float else None))
        self.equations.append(_Equation(equation, operands, outs))
        return outs

    def _unrolled(self, equation: core.JaxprEqn, operands: list[_Value]) -> list[_Value]:
        options = equation.params
        n_consts, n_carry = scan_sizes(options)
        consts, carry = operands[:n_consts], operands[n_consts : n_consts + n_carry]
        rows: list[list[_Value]] = []
        for t in range(options["length"]):
            i = options["length"] - 1 - t if options["reverse"] else t
            row = [self._apply(lambda x, i=i: x[i], x) for x in operands[n_consts + n_carry :]]
            outs = self.run(_body(equation), [*consts, *carry, *row])
            carry = outs[:n_carry]
            rows.append(outs[n_carry:])
        if options["reverse"]:
            rows.reverse()
        stacked = [
            self._apply(lambda *xs: jnp.stack(xs), *column) for column in zip(*rows, strict=True)
        ]
        return [*carry, *stacked]

    def _apply(self, function: Callable[..., Any], *operands: _Value) -> _Value:
        graph = jax.make_jaxpr(function)(*[operand.array for operand in operands])
        return self.run(graph, operands)[0]


class _Term(NamedTuple):
    """A value of a derivative's graph: linear in the tangents, or a coefficient of them."""

    value: Any
    magnitude: Any
    linear: bool = False


class _Absolute:
    """Runs the graph of a derivative over absolute terms: no sign, so nothing cancels.

    With ``by_terms`` the sums in its coefficients, too, are taken over absolute terms.
    """

    def __init__(self, by_terms: bool) -> None:
        self._by_terms = by_terms
        self.met_sums = False

    def run(self, graph: core.ClosedJaxpr, inputs: Sequence[_Term]) -> list[_Term]:
        terms: dict[Any, _Term] = dict(zip(graph.jaxpr.invars, inputs, strict=True))
        terms |= {v: _exact(c) for v, c in zip(graph.jaxpr.constvars, graph.consts, strict=True)}

        def read(atom: Any) -> _Term:
            return _exact(atom.val) if isinstance(atom, core.Literal) else terms[atom]

        for equation in graph.jaxpr.eqns:
            operands = [read(atom) for atom in equation.invars]
            if equation.primitive.name in CALLS:
                outs = self.run(_body(equation), operands)
            else:
                outs = self._step(equation, operands)
            terms |= dict(zip(equation.outvars, outs, strict=True))
        return [read(atom) for atom in graph.jaxpr.outvars]

    def _step(self, equation: core.JaxprEqn, operands: list[_Term]) -> list[_Term]:
        name = equation.primitive.name
        magnitudes = [operand.magnitude for operand in operands]
        linear = any(operand.linear for operand in operands)
        values: list[Any] = []
        if not linear:
            values = bind(equation, [operand.value for operand in operands])
            self.met_sums |= name in SUMS
            if not self._by_terms or name not in SUMS + MOVES:  # starts anew from its own value
                return [_exact(value) for value in values]
        if name in ("sub", "add_any"):
            sums = [magnitudes[0] + magnitudes[1]]
        elif name == "neg":
            sums = [magnitudes[0]]
        elif name == "one_minus_square":  # in the derivative of tanh, from jax 0.12 on
            sums = [1 + magnitudes[0] ** 2]
        else:
            sums = bind(equation, magnitudes)
        if linear:
            return [_Term(total, total, linear=True) for total in sums]
        return [_Term(v, total) for v, total in zip(values, sums, strict=True)]


def _exact(value: Any) -> _Term:
    is_float = jnp.issubdtype(jnp.result_type(value), jnp.inexact)
    return _Term(value, jnp.abs(value) if is_float else value)
