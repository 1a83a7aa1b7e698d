"""Arguments that carry a proof from some sizes of an axis to all sizes, and the sizes they need.

docs/proof.md proves them, under "All sizes".
"""

import math
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmore import rules
from jaxmore.prove.constants import Constant, recognise
from jaxmore.prove.modular import is_square
from jaxmore.prove.program import Program
from jaxmore.prove.residues import NotProved, Residues
from jaxmore.testing.arguments import parse_args
from tests.prove.following import SEEN, Counting, Symmetric, Watching, difference
from tests.prove.numbers import AxisDegree, AxisDegrees, Places
from tests.prove.outline import is_outlined, outline


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
