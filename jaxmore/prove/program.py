"""The jaxprs of a rule, and how to run forward and backward in one kind of numbers."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from jaxmore.prove import control_flow as control_flow
from jaxmore.prove import elementwise as elementwise
from jaxmore.prove import structure as structure
from jaxmore.prove.cells import Cell, places
from jaxmore.prove.interpreter import Interpreter
from jaxmore.prove.residues import NotProved


class Wrong(Exception):
    """The rule is wrong, with certainty."""

    def __init__(self, argument: str, text: str) -> None:
        super().__init__(f"{argument}: {text}")


class Program:
    """The jaxprs of a rule on its float leaves, in one dtype."""

    def __init__(
        self, fwd: Any, bwd: Any, op: Any, args: Sequence[Any], dtype: str = "float64"
    ) -> None:
        leaves, self.tree = jax.tree.flatten(tuple(args), is_leaf=lambda leaf: leaf is None)
        arrays = [a if a is None else jax.numpy.asarray(a) for a in leaves]
        self.is_float = [
            a is not None and jax.numpy.issubdtype(a.dtype, np.floating) for a in arrays
        ]
        self.floats = [np.asarray(a, dtype) for a, f in zip(arrays, self.is_float, strict=True)
                       if f]  # fmt: skip
        self.arrays, self.names = arrays, names_of(fwd, args)
        if not self.floats:
            raise NotProved("no argument is a float array")
        self.fwd, shapes = jax.make_jaxpr(self._on_floats(fwd), return_shape=True)(*self.floats)
        self.op = op and jax.make_jaxpr(self._on_floats(op))(*self.floats)
        y, residuals = shapes
        self.n_outputs = len(jax.tree.leaves(y))
        self.bwd, cotangents = jax.make_jaxpr(bwd, return_shape=True)(residuals, y)
        self.places = self._match(cotangents)
        self.shapes = [leaf.shape for leaf in jax.tree.leaves(y)]

    @property
    def float_names(self) -> list[str]:
        """The names of the float leaves."""
        return [name for name, f in zip(self.names, self.is_float, strict=True) if f]

    def _on_floats(self, function: Any) -> Any:
        def on_floats(*floats: Any) -> Any:
            drawn = iter(floats)
            leaves = [next(drawn) if f else a
                      for a, f in zip(self.arrays, self.is_float, strict=True)]  # fmt: skip
            return function(*jax.tree.unflatten(self.tree, leaves))

        return on_floats

    def _match(self, cotangents: Any) -> list[int]:
        """The place of each float leaf's cotangent among the leaves that bwd returns."""
        try:
            flat = self.tree.flatten_up_to(cotangents)
        except (ValueError, TypeError) as error:
            raise Wrong("structure", f"the cotangents do not fit the arguments: {error}") from None
        found, at = list[int](), 0
        floats = iter(self.floats)
        for name, d, is_float in zip(self.names, flat, self.is_float, strict=True):
            if is_float:
                shape, given = next(floats).shape, getattr(d, "shape", None)
                if given != shape:
                    told = f"is {d}" if given is None else f"has shape {given}"
                    raise Wrong(name, f"the cotangent {told}, but the argument has shape {shape}")
                found.append(at)
            at += len(jax.tree.leaves(d))
        return found


def evaluate(
    program: Program, run: Interpreter, cells: list[Cell], dys: list[Cell]
) -> tuple[list[Cell], list[Cell]]:
    """Run fwd with tangents, then bwd on its residuals; return the outputs and cotangents."""
    outs = run.run(program.fwd, cells)
    ys = [run.lift(y) for y in outs[: program.n_outputs]]
    residuals = [
        replace(r, tangent=None) if isinstance(r, Cell) else r for r in outs[program.n_outputs :]
    ]
    results = run.run(program.bwd, [*residuals, *dys])
    return ys, [run.lift(results[i]) for i in program.places]


def dot(run: Interpreter, pairs: list[tuple[Any, Any]]) -> Any:
    """Sum the products of the pairs; None is zero."""
    total = run.lift(0.0)
    for a, b in pairs:
        if b is not None:
            product = a * b
            flat = product.take(places(product.shape).reshape(-1))
            total = total + run.total(Cell(np.zeros(flat.shape), flat))
    return total.number


def names_of(function: Callable[..., Any], args: Sequence[Any]) -> list[str]:
    """Name each leaf of the arguments: the parameter's name, then the path inside its tree."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names += [f"argument {i}" for i in range(len(names), len(args))]
    paths = jax.tree_util.tree_leaves_with_path(tuple(args), is_leaf=lambda leaf: leaf is None)

    def dotted(place: Any, *inside: Any) -> str:
        path = jax.tree_util.keystr(inside, simple=True, separator=".")
        return f"{names[place.idx]}.{path}" if inside else names[place.idx]

    return [dotted(*path) for path, _ in paths]
