"""Interpreters that follow what a number of a program has to do with the size of an axis."""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from jaxmore.prove.cells import Cell
from jaxmore.prove.interpreter import Interpreter, has_body
from jaxmore.prove.program import Program, dot, evaluate
from jaxmore.prove.residues import NotProved
from tests.prove.numbers import AxisDegree, AxisDegrees
from tests.prove.outline import MOVES

SEEN = (47, 58, 69)
"""Sizes at which programs are compared, besides those that are proved.

None of them is any other number in a program. They differ modulo 3, 4 and 5,
and not all are odd."""
RATIONAL = {"add", "sub", "mul", "div", "neg", "square", "integer_pow", "sqrt", "rsqrt"}


class Watching(Interpreter):
    """Notes constants, radicands and exponents, and refuses what tells the places apart.

    Args:
        constant: makes a number.
        sizes: the sizes of dimensions that hold the axis.
        targets: the places that integer arguments name.
    """

    def __init__(
        self, constant: Any, sizes: Collection[int] = (), targets: Collection[int] = ()
    ) -> None:
        super().__init__(constant)
        self.sizes_of_axis, self.targets = sizes, targets
        self.constants: list[list[float]] = []
        self.plain: list[list[Any]] = []
        self.radicands: list[Any] = []
        self.exponents: list[Any] = []

    def lift(self, value: Any) -> Cell:
        if not isinstance(value, Cell):
            self._refuse_several("a constant for each place", value)
            self.constants.append(np.unique(np.asarray(value, float)).tolist())
        return super().lift(value)

    def choose(self, which: Any, cases: Sequence[Any]) -> Any:
        self._refuse_several("a choice at each place", which)
        return super().choose(which, cases)

    def evaluate(self, equation: Any, values: list[Any]) -> list[Any]:
        name = equation.primitive.name
        if name in ("sqrt", "rsqrt") and isinstance(values[0], Cell):
            self.radicands.append(values[0].number)
        if name == "exp" and isinstance(values[0], Cell):
            self.exponents.append(values[0].number)
        outs = super().evaluate(equation, values)
        if not (any(isinstance(v, Cell) for v in values) or has_body(equation)):
            self._note_plain(name, values, outs)
        return outs

    def _note_plain(self, name: str, values: list[Any], outs: list[Any]) -> None:
        """Note the numbers of an operation on known values that may depend on n.

        Raise where it tells the places apart, unless a target is what it tells apart.
        """
        rational = np.asarray(outs[0]).dtype.kind == "f" and name in RATIONAL
        if not (rational or name in MOVES or name == "convert_element_type"):
            scalars = [np.asarray(v).item() for v in values if np.ndim(v) == 0]
            if name != "max" or 1 not in scalars:  # the larger of n and 1 is n
                self.plain.append(scalars)
        if any(map(self._apart, values)) and not any(map(self._apart, outs)):
            raise NotProved("a place that no argument names")

    def _apart(self, array: Any) -> set[int]:
        """The places of the axis where known values differ from those at most places."""
        found = set[int]()
        for d, size in enumerate(np.shape(array)):
            if size in self.sizes_of_axis:
                rows = np.moveaxis(np.asarray(array, float), d, 0).reshape(size, -1)
                kinds, which, counts = np.unique(
                    rows, axis=0, return_inverse=True, return_counts=True
                )
                if len(kinds) > 1:
                    found |= {*np.flatnonzero(which.reshape(-1) != counts.argmax()).tolist()}
        return found

    def _refuse_several(self, what: str, array: Any) -> None:
        """Raise where known values single out several places, or one that is no target."""
        apart = self._apart(array)
        if len(apart) > 1:
            raise NotProved(what)
        if not apart <= {*self.targets}:
            raise NotProved("a place that no argument names")


class Counting(Watching):
    """Follows degrees through sums over the axis."""

    def total(self, cell: Cell) -> Cell:
        """A sum over the axis: the sum of ones is n, so the degree in n grows by one.

        It grows by two where the rows are those of two axes with n places.
        """
        rows = max(cell.real.shape[0], 1)
        n, total = AxisDegree(0, int(math.log(rows, SEEN[0]) + 1e-9), {}), super().total(cell)
        grown = AxisDegrees(n)
        tangent = None if total.tangent is None else total.tangent * grown
        return Cell(total.real, total.number * grown, tangent)


class Symmetric(Counting):
    """Refuses sums of fractions that have no common denominator of bounded degree."""

    def total(self, cell: Cell) -> Cell:
        for part in (cell.number, cell.tangent or cell.number):
            denominators = {frozenset(d.below.items()) for d in part.values.reshape(-1)}
            if len(denominators) > SEEN[0] // 2:  # by symmetry: one for each place, or few
                raise NotProved("a sum of fractions with a denominator for each place")
        return super().total(cell)


def difference(program: Program, run: Interpreter, draw: Callable[[Any, Any], Any]) -> list[Any]:
    """Both sides of the proof, and fwd beside op, as numbers of one kind."""
    xs = [draw(i, x.shape) for i, x in enumerate(program.floats)]
    vs = [draw(i, x.shape) for i, x in enumerate(program.floats)]
    dys = [Cell(np.ones(s), draw(f"y{i}", s)) for i, s in enumerate(program.shapes)]
    cells = [Cell(a, x, v) for a, x, v in zip(program.floats, xs, vs, strict=True)]
    ys, ours = evaluate(program, run, cells, dys)
    theirs = [run.lift(y) for y in run.run(program.op, cells)]
    weights = [draw(f"y{i}", s) for i, s in enumerate(program.shapes)]
    apart = [(w, y.number - t.number) for w, y, t in zip(weights, ys, theirs, strict=True)]
    return [
        dot(run, [(dy.number, y.tangent) for dy, y in zip(dys, ys, strict=True)])
        - dot(run, [(d.number, v) for d, v in zip(ours, vs, strict=True)]),
        dot(run, apart),
    ]
