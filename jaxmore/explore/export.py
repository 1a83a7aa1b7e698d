"""Write a JAX function as JSON: the equations of its jaxpr, for the page's interpreter to run."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import jax
import numpy as np
from jax.extend import core

from jaxmore.errors import InputError
from jaxmore.jaxprs import scan_sizes

CALLS = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call")
"""Equations that only call others: their bodies are inlined."""

PARAMETERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("neg", "exp", "log", "tanh", "sqrt", "rsqrt", "abs", "sign", "floor"), ()),
    **dict.fromkeys(("log1p", "expm1", "logistic", "square", "is_finite", "not"), ()),
    **dict.fromkeys(("add", "add_any", "sub", "mul", "div", "pow", "max", "min"), ()),
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "select_n"), ()),
    **dict.fromkeys(("optimization_barrier", "copy", "stop_gradient"), ()),
    "integer_pow": ("y",),
    "convert_element_type": (),
    "broadcast_in_dim": ("broadcast_dimensions",),
    "reshape": (),
    "squeeze": (),
    "transpose": ("permutation",),
    "slice": ("start_indices", "strides"),
    "rev": ("dimensions",),
    "pad": ("padding_config",),
    "concatenate": ("dimension",),
    "iota": ("dimension",),
    "reduce_sum": ("axes",),
    "reduce_max": ("axes",),
    "reduce_min": ("axes",),
    "reduce": ("dimensions",),
    "cumsum": ("axis", "reverse"),
    "split": ("axis",),
    "argmax": ("axes",),
    "argmin": ("axes",),
    "dot_general": ("dimension_numbers",),
    "gather": ("dimension_numbers", "slice_sizes", "mode", "fill_value"),
    "scatter": ("dimension_numbers", "mode"),
    "scatter-add": ("dimension_numbers", "mode"),
}
"""The primitives that the page runs, each with the parameters that decide what it computes."""

DTYPES = {
    "float64": "float64",
    "float32": "float32",
    "bool": "bool",
    **dict.fromkeys(("int8", "int16", "int32", "int64", "uint8", "uint16"), "int32"),
}
"""What the page computes in. Its integers are ids and positions, which fit 32 bits."""


class Equation(TypedDict):
    """One step: the primitive, its parameters, and the slots that it reads and writes."""

    op: str
    params: dict[str, Any]
    reads: list[int]
    writes: list[int]


class Program(TypedDict):
    """A function as slots (a shape and a dtype each) and the equations between them."""

    slots: list[tuple[list[int], str]]
    inputs: dict[str, int]
    outputs: dict[str, int]
    constants: list[tuple[int, list[float | str]]]
    equations: list[Equation]


def export(
    function: Callable[..., Any],
    args: Sequence[Any],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> Program:
    """Trace a function and write its equations down.

    Args:
        function: of arrays, or of trees of them.
        args: arrays or shapes; the trace happens at their shapes and dtypes.
        inputs: a name for each leaf of ``args``.
        outputs: a name for each leaf of what the function returns.

    Returns:
        The program, with calls inlined: plain lists and numbers, ready for ``json.dumps``.

    Raises:
        InputError: the page cannot run one of the primitives, or hold one of the dtypes.
    """
    graph = jax.make_jaxpr(inspect.unwrap(function))(*args)
    return _Exporter().export(graph, inputs, outputs)


class _Exporter:
    def __init__(self) -> None:
        self._program = Program(slots=[], inputs={}, outputs={}, constants=[], equations=[])

    def export(
        self, graph: core.ClosedJaxpr, inputs: Sequence[str], outputs: Sequence[str]
    ) -> Program:
        arguments = [self._slot(var.aval) for var in graph.jaxpr.invars]
        self._program["inputs"] = dict(zip(inputs, arguments, strict=True))
        results = self._inline(graph, arguments)
        self._program["outputs"] = dict(zip(outputs, results, strict=True))
        return self._program

    def _slot(self, aval: Any) -> int:
        dtype = DTYPES.get(str(aval.dtype))
        if dtype is None:
            raise InputError(f"the page cannot hold {aval.dtype}")
        self._program["slots"].append(([int(size) for size in aval.shape], dtype))
        return len(self._program["slots"]) - 1

    def _constant(self, value: Any) -> int:
        array = np.asarray(value)
        slot = self._slot(array)
        self._program["constants"].append((slot, [_number(x) for x in array.astype(float).flat]))
        return slot

    def _inline(self, graph: core.ClosedJaxpr, arguments: Sequence[int]) -> list[int]:
        slots: dict[Any, int] = dict(zip(graph.jaxpr.invars, arguments, strict=True))
        constants = map(self._constant, graph.consts)
        slots |= dict(zip(graph.jaxpr.constvars, constants, strict=True))

        def read(atom: Any) -> int:
            return self._constant(atom.val) if isinstance(atom, core.Literal) else slots[atom]

        for equation in graph.jaxpr.eqns:
            reads, name = [read(atom) for atom in equation.invars], equation.primitive.name
            if name in CALLS:
                body: Any = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
                writes = self._inline(_closed(body), reads)
            elif name == "scan":
                writes = self._unroll(equation, reads)
            elif name == "stack":  # newer jax
                aval, axis = equation.outvars[0].aval, equation.params["axis"]
                writes = [self._stack(aval, reads, axis)]
            elif name == "unstack":  # newer jax
                aval, axis = equation.invars[0].aval, equation.params["axis"]
                (stack,) = reads
                writes = [self._row(aval, stack, k, axis) for k in range(len(equation.outvars))]
            else:
                params = _params(equation)  # refuses before it makes slots
                writes = [self._slot(var.aval) for var in equation.outvars]
                self._program["equations"].append(
                    Equation(op=name, params=params, reads=reads, writes=writes)
                )
            slots |= dict(zip(equation.outvars, writes, strict=True))
        return [read(atom) for atom in graph.jaxpr.outvars]

    def _unroll(self, equation: core.JaxprEqn, reads: Sequence[int]) -> list[int]:
        """Inline the body of a scan once for each of its steps, and stack what the steps give."""
        params = equation.params
        n_consts, n_carry = scan_sizes(params)
        consts, carry = list(reads[:n_consts]), list(reads[n_consts : n_consts + n_carry])
        stacks = equation.invars[n_consts + n_carry :], reads[n_consts + n_carry :]
        given: dict[int, list[int]] = {}
        steps = range(params["length"])
        for step in reversed(steps) if params["reverse"] else steps:
            rows = [self._row(var.aval, slot, step) for var, slot in zip(*stacks, strict=True)]
            outs = self._inline(params["jaxpr"], [*consts, *carry, *rows])
            carry, given[step] = outs[:n_carry], outs[n_carry:]
        stacked = equation.outvars[n_carry:]
        return carry + [
            self._stack(var.aval, [given[step][k] for step in steps])
            for k, var in enumerate(stacked)
        ]

    def _row(self, stack: Any, slot: int, step: int, axis: int = 0) -> int:
        """jnp.take(x, step, axis), as equations."""
        before, after = stack.shape[:axis], stack.shape[axis + 1 :]
        one = self._slot(jax.ShapeDtypeStruct((*before, 1, *after), stack.dtype))
        row = self._slot(jax.ShapeDtypeStruct((*before, *after), stack.dtype))
        start = {"start_indices": [step if k == axis else 0 for k in range(len(stack.shape))]}
        self._program["equations"] += [
            Equation(op="slice", params=start, reads=[slot], writes=[one]),
            Equation(op="squeeze", params={}, reads=[one], writes=[row]),
        ]
        return row

    def _stack(self, stack: Any, rows: Sequence[int], axis: int = 0) -> int:
        """jnp.stack(rows, axis), as equations."""
        shape = (*stack.shape[:axis], 1, *stack.shape[axis + 1 :])
        ones = [self._slot(jax.ShapeDtypeStruct(shape, stack.dtype)) for _ in rows]
        whole = self._slot(stack)
        self._program["equations"] += [
            Equation(op="reshape", params={}, reads=[row], writes=[one])
            for row, one in zip(rows, ones, strict=True)
        ]
        self._program["equations"].append(
            Equation(op="concatenate", params={"dimension": axis}, reads=ones, writes=[whole])
        )
        return whole


def _closed(body: Any) -> core.ClosedJaxpr:
    return body if isinstance(body, core.ClosedJaxpr) else core.ClosedJaxpr(body, ())


def _number(x: float) -> float | str:
    """A number as JSON has it. It has no infinity or NaN: a typed array reads them from strings."""
    if not np.isfinite(x):
        return {"inf": "Infinity", "-inf": "-Infinity"}.get(str(x), "NaN")
    return int(x) if float(x).is_integer() else float(x)


def _params(equation: core.JaxprEqn) -> dict[str, Any]:
    name, params = equation.primitive.name, equation.params
    if name not in PARAMETERS:
        raise InputError(f"the page cannot run the primitive {name}")
    if params.get("dimensions") is not None and name == "reshape":
        raise InputError("the page cannot run a reshape that permutes")
    if name == "select_n" and len(equation.invars) != 3:
        raise InputError("the page cannot run a select_n of more than two cases")
    plain = {key: _plain(params[key]) for key in PARAMETERS[name] if params[key] is not None}
    if name == "reduce":  # by a function of two numbers, which is a program too
        if len(equation.outvars) > 1:
            raise InputError("the page cannot run a reduce of several arrays at once")
        plain["body"] = _Exporter().export(_closed(params["jaxpr"]), ["total", "x"], ["total"])
    return plain


def _plain(value: Any) -> Any:
    if hasattr(value, "name"):  # an enum: the mode of a gather
        return value.name
    if hasattr(value, "_fields"):
        return {field: _plain(getattr(value, field)) for field in value._fields}
    if hasattr(value, "__dataclass_fields__"):
        return {field: _plain(getattr(value, field)) for field in value.__dataclass_fields__}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return _number(float(value))
