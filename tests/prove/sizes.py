"""Arguments that carry a proof from some sizes of an axis to all sizes, and the sizes they need.

docs/proof.md proves them, under "All sizes"; the program is compared at three sizes.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmore import rules
from jaxmore.prove.cells import Cell
from jaxmore.prove.constants import Constant, recognise
from jaxmore.prove.interpreter import Interpreter, closed
from jaxmore.prove.modular import is_square
from jaxmore.prove.program import Program, dot, evaluate
from jaxmore.prove.residues import NotProved, Residues
from jaxmore.prove.shapes import ELEMENTWISE
from jaxmore.testing.arguments import parse_args
from tests.prove.numbers import Degree, Degrees, Places

SEEN = (47, 59, 83)
"""Sizes at which programs are compared: none of them is any other number in a program."""
CALLS = {"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call"}
MOVES = {"broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose"}
SUMS = {"reduce_sum", "dot_general"}
SINGLES_OUT = {"reduce": "the maximum", "reduce_max": "the maximum", "iota": "the target"}


class Axis(NamedTuple):
    """An axis of a rule: arguments with letters for sizes, the axis, and sizes for the others."""

    rule: str
    arguments: str
    axis: str
    others: Mapping[str, int]
    options: Mapping[str, Any] = {}

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


# The same program at three sizes ------------------------------------------------------------------


def outline(program: Program, n: int, m: int = 0) -> list[str]:
    """List the operations with their parameters and shapes; n is the letter N, and m is M."""
    jaxprs = program.fwd, program.bwd, program.op
    return [line for j in jaxprs for line in _lines(j.jaxpr, n, m or n)]


def _lines(jaxpr: Any, n: int, m: int) -> Iterator[str]:
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, dict(equation.params)
        if name in CALLS:
            inner = params.get("jaxpr", params.get("call_jaxpr", params.get("fun_jaxpr")))
            yield from _lines(closed(inner).jaxpr, n, m)
            continue
        avals = [v.aval for v in (*equation.invars, *equation.outvars)]
        if any({n, m} & {*aval.shape} for aval in avals):
            _only_whole(equation, avals, n, m)
        line = re.sub(" at 0x[0-9a-f]+", "", f"{name} {avals} {sorted(params.items())}")
        yield re.sub(rf"\b{m}\b", "M", re.sub(rf"\b{n}\b", "N", line))


def _only_whole(equation: Any, avals: list[Any], n: int, m: int) -> None:
    """Raise where an operation takes apart, reorders or cuts the axis.

    It may be joined with the m − n places of another axis, and parted from them.
    """
    name, params = equation.primitive.name, equation.params
    at = [d for d, size in enumerate(avals[0].shape) if size in (n, m)]
    if name in ELEMENTWISE | MOVES | SUMS or name in SINGLES_OUT:
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
    """

    def __init__(self, constant: Any, sizes: Collection[int]) -> None:
        super().__init__(constant)
        self.sizes_of_axis = sizes
        self.constants: list[list[float]] = []
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
        return super().evaluate(equation, values)

    def _refuse_several(self, what: str, array: Any) -> None:
        """Raise where an array of known values singles out more than one place."""
        for d, size in enumerate(np.shape(array)):
            if size in self.sizes_of_axis:
                rows = np.moveaxis(np.asarray(array, float), d, 0).reshape(size, -1)
                if size - np.unique(rows, axis=0, return_counts=True)[1].max() > 1:
                    raise NotProved(what)


class Symmetric(Watching):
    """Follows degrees through sums over the axis."""

    def total(self, cell: Cell) -> Cell:
        """A sum over the axis: the sum of ones is n, so the degree in n grows by one."""
        if cell.real.shape[0] < 2:
            return super().total(cell)
        for part in (cell.number, cell.tangent or cell.number):
            denominators = {frozenset(d.below.items()) for d in part.values.reshape(-1)}
            if len(denominators) > SEEN[0] // 2:  # by symmetry: one for each place, or few
                raise NotProved("a sum of fractions with a denominator for each place")
        n, total = Degrees(Degree(0, 1, {})), super().total(cell)
        tangent = None if total.tangent is None else total.tangent * n
        return Cell(total.real, total.number * n, tangent)


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
    """The sizes that have to be proved; any one will do for a sum."""


def argue(axis: Axis) -> Argument:
    """Find the argument for an axis; raise NotProved if there is none."""
    with jax.enable_x64(True), np.errstate(all="ignore"):
        programs = [axis.program(n) for n in SEEN]
        # Where another axis is joined with this one (the rows of a cell's weight), it is H.
        more = axis.others.get("H", 0)
        sizes = [{n, n + more} for n in SEEN]
        first, *rest = [outline(p, *sorted(s)) for p, s in zip(programs, sizes, strict=True)]
        if any(other != first for other in rest):
            raise NotProved("another program at another size")
        depends = _constants(programs, sizes)
        draw = _places_of(programs[0], programs[1])
        try:
            difference(programs[0], Watching(Places.constant, sizes[0]), draw)
            kind = "sum"
        except NotProved:
            kind = "symmetric"
            _check_roots_and_exponents(programs[0], sizes[0])
        names = [line.partition(" ")[0] for line in first if re.search(r"\b[NM]\b", line)]
        if "iota" in names and all(programs[0].is_float):
            raise NotProved("a place that no argument names")
        # Each place that stands apart comes on top of the places that are alike. Two maxima may
        # be of different numbers; the iotas all serve the one target.
        maxima = [line for line in first if re.match("reduce(_max)? ", line) and _ends_axis(line)]
        apart = len(maxima) + ("iota" in names)
        if kind == "sum" and not depends:
            return Argument(kind, range(1 + apart, 2 + apart))

        def constant(value: Constant) -> Degrees:
            above, below = depends.get(value, (0, 0))
            return Degrees(Degree(0, above, {Degree(0, below, {}): 1} if below else {}))

        def degree(key: Any, shape: tuple[int, ...]) -> Degrees:
            number = np.frompyfunc(lambda bits: Degree(int(bits != 0), 0, {}), 1, 1)
            return Degrees(number(draw(key, shape).bits))

        run = Symmetric(constant, sizes[0]) if kind == "symmetric" else Interpreter(constant)
        numbers = [d.values[()] for d in difference(programs[0], run, degree)]
    # A program with √n has coefficients that are polynomials in √n, of twice the degree.
    roots = any(power % 1 for pair in depends.values() for power in pair)
    in_n = int(np.ceil(max(d.n for d in numbers) * (2 if roots else 1)))
    if kind == "sum":
        if any(f.n and f.places for d in numbers for f in d.below):
            raise NotProved("a denominator with n for each place")
        return Argument(kind, range(1 + apart, in_n + 2 + apart))
    least = int(np.ceil(max(d.places for d in numbers))) + apart
    return Argument(kind, range(least, least + in_n + 1))


def _ends_axis(line: str) -> bool:
    """Whether the operation of an outline's line has the axis in its inputs, not in its output."""
    shapes = re.findall(r"\[([\w, ]*)\]", line.partition("] [(")[0])
    return bool(re.search(r"\b[NM]\b", " ".join(shapes))) and not re.search("[NM]", shapes[-1])


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


def _constants(
    programs: list[Program], sizes: list[set[int]]
) -> dict[Constant, tuple[float, float]]:
    """The degrees in n, above and below, of each constant that depends on n."""
    runs: list[list[list[float]]] = []
    for program, of_axis in zip(programs, sizes, strict=True):
        run = Watching(Places.constant, of_axis)
        difference(program, run, lambda _, shape: Places(np.zeros(shape)))
        runs.append(run.constants)
    found = dict[Constant, tuple[float, float]]()
    for values in zip(*runs, strict=True):
        if any(value != values[0] for value in values):
            if any(len(value) != 1 for value in values):
                raise NotProved("a constant for each place")
            meanings = [recognise(value[0]) for value in values]
            found[meanings[0]] = _power_of_n(meanings)
    return found


def _power_of_n(meanings: list[Constant]) -> tuple[float, float]:
    """The degrees in n of a rational number times powers of n, n − 1 and √n."""
    for a, b, c in product((0, 1, -1), repeat=3):
        rests = {
            m._replace(
                rational=m.rational / (Fraction(n) ** a * Fraction(n - 1) ** b),
                radicand=m.radicand / Fraction(n) ** c,
            )
            for m, n in zip(meanings, SEEN, strict=True)
        }
        if len(rests) == 1:
            powers = a, b, c / 2
            return sum(max(p, 0) for p in powers), sum(max(-p, 0) for p in powers)
    raise NotProved(f"a constant that depends on n: {meanings[0]}")


def _check_roots_and_exponents(program: Program, sizes: set[int]) -> None:
    """Raise if there are roots of several numbers, or of a square, or two exponents at a place."""
    rng, squares = np.random.default_rng(0), set[bool]()
    for _ in range(8):
        run = Watching(partial(Residues.constant, levels=3), sizes)
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
