"""Arguments that carry a proof from some sizes of an axis to all sizes, and the sizes they need.

docs/proof.md proves them, under "All sizes".
"""

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial
from itertools import count, product
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import core

from jaxmore import rules
from jaxmore.prove.cells import Cell
from jaxmore.prove.constants import Constant, recognise
from jaxmore.prove.interpreter import Interpreter, closed, has_body
from jaxmore.prove.modular import is_square
from jaxmore.prove.program import Program, dot, evaluate
from jaxmore.prove.residues import NotProved, Residues
from jaxmore.prove.shapes import ELEMENTWISE
from jaxmore.testing.arguments import parse_args
from tests.prove.numbers import AxisDegree, AxisDegrees, Places

SEEN = (47, 58, 69)
"""Sizes at which programs are compared, besides those that are proved.

None of them is any other number in a program, and they differ modulo 2, 3, 4 and 5."""
CALLS = {"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call"}
MOVES = {"broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose"}
SUMS = {"reduce_sum", "dot_general"}
BY_ORDER = {"lt", "le", "gt", "ge", "sign", "floor"}
RATIONAL = {"add", "sub", "mul", "div", "neg", "square", "integer_pow", "sqrt", "rsqrt"}


class Axis(NamedTuple):
    """An axis of a rule: arguments with letters for sizes, the axis, and sizes for the others."""

    rule: str
    arguments: str
    axis: str
    others: Mapping[str, int]
    options: Mapping[str, Any] = {}
    least: int = 1
    """The least size at which the rule has a derivative."""

    def arguments_at(self, n: int) -> Any:
        """The arguments with n places on the axis."""
        sizes = {**self.others, self.axis: n}
        text = re.sub(r"\b[A-Z]\b", lambda m: str(sizes[m[0]]), self.arguments)
        return parse_args(re.sub(r"(\d+)\+(\d+)", lambda m: str(int(m[1]) + int(m[2])), text))

    def functions(self) -> list[Any]:
        """The plain forward, the forward and the backward."""
        ends = "", "_fwd", "_bwd"
        return [partial(getattr(rules, self.rule + end), **self.options) for end in ends]

    def program(self, n: int) -> Program:
        """The programs with n places on the axis, whose numbers are alike.

        Then a choice that depends on the numbers is the same at all places, and one that is not
        depends on the place.
        """

        def alike(a: Any) -> Any:
            for d in (d for d, size in enumerate(np.shape(a)) if size == n):
                a = np.repeat(np.take(a, [0], d), n, d)
            return a

        op, fwd, bwd = self.functions()
        return Program(fwd, bwd, op, [alike(a) for a in self.arguments_at(n)])


# The same program at several sizes ---------------------------------------------------------------


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


# Following a program ------------------------------------------------------------------------------


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


# The argument -------------------------------------------------------------------------------------


class Argument(NamedTuple):
    """An argument that carries a proof to all sizes of an axis."""

    kind: str
    """"sum" or "symmetric"."""
    sizes: range
    """The sizes that have to be proved: those of the argument, and all below."""


def argue(axis: Axis) -> Argument:
    """Find the argument for an axis; raise NotProved if there is none."""
    with jax.enable_x64(True), np.errstate(all="ignore"):
        programs = {n: axis.program(n) for n in SEEN}
        # Where another axis is joined with this one (the rows of a cell's weight), it is H.
        more = axis.others.get("H", 0)
        program, sizes = programs[SEEN[0]], {SEEN[0], SEEN[0] + more}
        lines = outline(program, *sorted(sizes))

        def is_the_program(n: int) -> bool:
            programs[n] = programs.get(n) or axis.program(n)
            return is_outlined(programs[n], lines, n, n + more)

        if not all(map(is_the_program, SEEN)):
            raise NotProved("another program at another size")
        depends = _constants(programs, more)
        draw = _places_of(program, programs[SEEN[1]])
        targets = _targets(program)
        try:
            difference(program, Watching(Places.constant, sizes, targets), draw)
            kind = "sum"
        except NotProved:
            kind = "symmetric"
            _check_roots_and_exponents(program, sizes, targets)

        def constant(value: Constant) -> AxisDegrees:
            above, below = depends.get(value, (0, 0))
            return AxisDegrees(AxisDegree(0, above, {AxisDegree(0, below, {}): 1} if below else {}))

        def degree(key: Any, shape: tuple[int, ...]) -> AxisDegrees:
            number = np.frompyfunc(lambda bits: AxisDegree(int(bits != 0), 0, {}), 1, 1)
            return AxisDegrees(number(draw(key, shape).bits))

        run = (Symmetric if kind == "symmetric" else Counting)(constant, sizes, targets)
        numbers = [d.values[()] for d in difference(program, run, degree)]
        # A program with √n has coefficients that are polynomials in √n, of twice the degree.
        roots = any(power % 1 for pair in depends.values() for power in pair)
        in_n = math.ceil(max(d.n for d in numbers) * (2 if roots else 1))
        if kind == "sum" and any(f.n and f.places for d in numbers for f in d.below):
            raise NotProved("a denominator with n for each place")
        # Each place that stands apart comes on top of the places that are alike. Two maxima may
        # be of different numbers.
        apart = sum(map(_ended_axes, lines)) + len(targets)
        least = apart + (1 if kind == "sum" else math.ceil(max(d.places for d in numbers)))
        for start in range(least, SEEN[0]):
            found = range(start, start + in_n + 1)
            if all(map(is_the_program, found)):
                _constants({n: programs[n] for n in (*SEEN, *found)}, more)
                return Argument(kind, range(axis.least, found.stop))
        raise NotProved("another program at the sizes that have to be proved")


def _targets(program: Program) -> set[int]:
    """The places that integer arguments name."""
    pairs = zip(program.arrays, program.is_float, strict=True)
    return {int(i) for a, f in pairs if a is not None and not f for i in np.ravel(a)}


def _ended_axes(line: str) -> int:
    """How many axes with n places the maximum in an outline's line ends; 0 for other lines."""
    if not re.match("reduce(_max)? ", line):
        return 0
    of_array, *_, of_result = re.findall(r"Array\(\w+\[([\w,]*)\]", line)
    counts = [len(re.findall(r"\b[NM]\b", shape)) for shape in (of_array, of_result)]
    return counts[0] - counts[1]


def _places_of(one: Program, other: Program) -> Callable[[Any, Any], Places]:
    """Draw numbers that know their place: on the axis that the sizes of two programs tell."""
    pairs = {
        i: (a.shape, b.shape) for i, (a, b) in enumerate(zip(one.floats, other.floats, strict=True))
    }
    pairs |= {f"y{i}": pair for i, pair in enumerate(zip(one.shapes, other.shapes, strict=True))}

    def draw(key: Any, shape: tuple[int, ...]) -> Places:
        axes = [d for d, (a, b) in enumerate(zip(*pairs[key], strict=True)) if a != b]
        bits = np.zeros(shape, np.uint64)
        for d in axes:
            bits |= np.uint64(1) << np.indices(shape, np.uint64)[d]
        return Places(bits)

    return draw


def _constants(programs: Mapping[int, Program], more: int) -> dict[Constant, tuple[float, float]]:
    """The degrees in n, above and below, of each constant that depends on n."""
    runs: list[Watching] = []
    for n, program in programs.items():
        of_axis = {n, n + more} if n in SEEN else set[int]()
        run = Watching(Places.constant, of_axis, _targets(program))
        difference(program, run, lambda _, shape: Places(np.zeros(shape)))
        runs.append(run)
    if any(run.plain != runs[0].plain for run in runs):
        raise NotProved("a choice by the size")
    found = dict[Constant, tuple[float, float]]()
    for values in zip(*(run.constants for run in runs), strict=True):
        if any(value != values[0] for value in values):
            if any(len(value) != 1 for value in values):
                raise NotProved("a constant for each place")
            meanings = [recognise(value[0]) for value in values]
            found[meanings[0]] = _power_of_n(dict(zip(programs, meanings, strict=True)))
    return found


def _power_of_n(meanings: Mapping[int, Constant]) -> tuple[float, float]:
    """The degrees in n of a rational number times powers of n, n − 1 and √n."""
    for a, b, c in product((0, 1, -1), repeat=3):
        if b and 1 in meanings:  # n − 1 is zero there
            continue
        # Signed squares, since √n is a rational number where n is a square.
        rests = {
            m._replace(
                rational=m.rational
                * abs(m.rational)
                * m.radicand
                / (Fraction(n) ** (2 * a + c) * Fraction(n - 1) ** (2 * b)),
                radicand=Fraction(1),
            )
            for n, m in meanings.items()
        }
        if len(rests) == 1:
            powers = a, b, c / 2
            return sum(max(p, 0) for p in powers), sum(max(-p, 0) for p in powers)
    raise NotProved(f"a constant that depends on n: {meanings[SEEN[0]]}")


def _check_roots_and_exponents(program: Program, sizes: set[int], targets: set[int]) -> None:
    """Raise if there are roots of several numbers, or of a square, or two exponents at a place."""
    rng, squares = np.random.default_rng(0), set[bool]()
    for _ in range(8):
        run = Watching(partial(Residues.constant, levels=3), sizes, targets)
        difference(program, run, lambda _, shape: Residues.random(rng, shape, 3))
        roots = {tuple(x) for r in run.radicands for x in r.parts[:1].reshape(1, -1).T.tolist()}
        exponents = {x for e in run.exponents for x in e.parts[0].reshape(-1).tolist()}
        if len(roots) > 1:
            raise NotProved("roots of several numbers")
        if len(exponents) > max(sizes):
            raise NotProved("two exponents at a place")
        squares |= {bool(is_square(r.parts[:1]).all()) for r in run.radicands}
    if len(squares) == 1:
        raise NotProved("a root of a square")
