"""Arguments that carry a proof from some sizes of an axis to all sizes, and the sizes they need.

Let P be the difference of the two sides that a proof compares, ⟨dy, J v⟩ − ⟨bwd(dy), v⟩ (and
⟨w, fwd − op⟩), on an axis with n places; z_i holds all numbers that belong to place i.

**A sum over places.** If no product in P joins two places, and no constant depends on n, then
P = G(z_1) + … + G(z_n) with one G for all n. P = 0 at any one n gives G = 0, hence P = 0 at all.

**Symmetric in places.** If places meet only in sums over the whole axis, P's numerator is
Q(n, p_a, p_b, …) with one polynomial Q for all n, in power sums p_a = Σ_i z_i^a. Let the degree of Q
be k in the z and D in n. For n ≥ k, products of power sums of degree up to k are linearly independent,
so P = 0 at such an n makes every coefficient of Q zero at this n. A coefficient is a polynomial
in n of degree at most D: zero at D + 1 sizes, it is zero. A place that a maximum or a target singles
out is left out of the sums, and needs one more place. Where P holds a root R of a number
that is no square, P = A + B R = 0 means A = B = 0, and this is said of both.

Both hold where the rule is the program that was looked at: the program is compared at three sizes.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from fractions import Fraction
from dataclasses import dataclass
from functools import cached_property, partial
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
from jaxmore.prove.rule import Proof, prove_rule
from jaxmore.prove.shapes import ELEMENTWISE
from jaxmore.testing.arguments import parse_args

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
    options: Mapping[str, Any] = {}  # noqa: RUF012 -- never changed

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


# A sum over places --------------------------------------------------------------------------------


class Places:
    """For each element the set of places that it depends on, as bits; several only in a sum."""

    def __init__(self, bits: Any) -> None:
        self.bits = np.asarray(bits, np.uint64)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.bits.shape

    @classmethod
    def constant(cls, value: Constant) -> "Places":
        return cls(0)

    def take(self, index: Any) -> "Places":
        return Places(self.bits.reshape(-1)[index])

    @classmethod
    def concatenate(cls, arrays: "list[Places]") -> "Places":
        return cls(np.concatenate([a.bits.reshape(-1) for a in arrays]))

    def like(self, other: "Places") -> "Places":
        return self.take(np.zeros(other.shape, int))

    def __add__(self, other: "Places") -> "Places":
        return Places(self.bits | other.bits)

    __sub__ = __add__

    def __neg__(self) -> "Places":
        return self

    def __mul__(self, other: "Places") -> "Places":
        both = Places(self.bits | other.bits)
        if (both._joined() & (self.bits != 0) & (other.bits != 0)).any():
            raise NotProved("a product joins two places")
        return both

    def _joined(self) -> Any:
        return self.bits & (self.bits - np.uint64(1)) != 0

    def reciprocal(self) -> "Places":
        if self._joined().any():
            raise NotProved("a function of a sum over places")
        return self

    exp = log = sqrt = erf = sin = cos = reciprocal

    def __truediv__(self, other: "Places") -> "Places":
        return self * other.reciprocal()

    def integer_pow(self, n: int) -> "Places":
        return self if n == 1 else self.reciprocal()


# Degrees in the places and in n -------------------------------------------------------------------


@dataclass(eq=False)
class Degree:
    """The degree of a number's numerator in the places and in n, and its denominator's factors."""

    places: float
    n: float
    below: "dict[Degree, int]"
    power: "tuple[Degree, Degree] | None" = None
    """(c, m) where the number is c + log m."""

    def missing(self, below: "dict[Degree, int]") -> tuple[float, float]:
        """The degrees of the numerator over a denominator."""
        rest = [(f, power - self.below.get(f, 0)) for f, power in below.items()]
        return (
            self.places + sum(f.places * power for f, power in rest),
            self.n + sum(f.n * power for f, power in rest),
        )

    def __add__(self, other: "Degree") -> "Degree":
        factors = {*self.below, *other.below}
        below = {f: max(self.below.get(f, 0), other.below.get(f, 0)) for f in factors}
        ours, theirs = self.missing(below), other.missing(below)
        power = None
        if self.power or other.power:
            (c, m), (d, k) = self.log_parts, other.log_parts
            power = c + d, m * k
        return Degree(max(ours[0], theirs[0]), max(ours[1], theirs[1]), below, power)

    def __neg__(self) -> "Degree":
        return (
            self.power
            and Degree(self.places, self.n, self.below, (self.power[0], self.power[1].inverse))
            or self
        )

    def __sub__(self, other: "Degree") -> "Degree":
        return self + -other

    def __mul__(self, other: "Degree") -> "Degree":
        factors = {*self.below, *other.below}
        below = {f: self.below.get(f, 0) + other.below.get(f, 0) for f in factors}
        return Degree(self.places + other.places, self.n + other.n, below)

    @property
    def log_parts(self) -> "tuple[Degree, Degree]":
        return self.power or (self, ONE)

    @cached_property
    def inverse(self) -> "Degree":
        above = Degree(0, 0, {}).missing(self.below)
        return Degree(*above, {Degree(self.places, self.n, {}): 1})

    @cached_property
    def exponential(self) -> "Degree":
        """A number of its own; e to the c + log m is m eᶜ."""
        return self.power[1] * self.power[0].exponential if self.power else Degree(1, 0, {})

    @cached_property
    def logarithm(self) -> "Degree":
        return Degree(1, 0, {}, (Degree(0, 0, {}), self))

    @cached_property
    def root(self) -> "Degree":
        """√(N/D) = √(N D)/D: its square has the degrees of N D."""
        z, n = Degree(0, 0, {}).missing(self.below)
        return Degree((self.places + z) / 2, (self.n + n) / 2, self.below)


ONE = Degree(0, 0, {})


def _each(function: Any) -> Any:
    apply = np.frompyfunc(function, function.__code__.co_argcount, 1)
    return lambda *arrays: Degrees(apply(*(a.values for a in arrays)))


class Degrees:
    """An array of :class:`Degree`."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values, object)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def take(self, index: Any) -> "Degrees":
        return Degrees(self.values.reshape(-1)[index])

    @classmethod
    def concatenate(cls, arrays: "list[Degrees]") -> "Degrees":
        return cls(np.concatenate([a.values.reshape(-1) for a in arrays]))

    def like(self, other: "Degrees") -> "Degrees":
        return self.take(np.zeros(other.shape, int))

    __add__ = _each(lambda a, b: a + b)
    __sub__ = _each(lambda a, b: a - b)
    __mul__ = _each(lambda a, b: a * b)
    __truediv__ = _each(lambda a, b: a * b.inverse)
    __neg__ = _each(lambda a: -a)
    reciprocal = _each(lambda a: a.inverse)
    exp = _each(lambda a: a.exponential)
    log = _each(lambda a: a.logarithm)
    sqrt = _each(lambda a: a.root)

    def integer_pow(self, n: int) -> "Degrees":
        base, result = self if n > 0 else self.reciprocal(), self
        result = base
        for _ in range(abs(n) - 1):
            result = result * base
        return result


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
        if kind == "sum" and not depends:
            return Argument(kind, range(1, 2))

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
        return Argument(kind, range(1, in_n + 2))
    least = int(np.ceil(max(d.places for d in numbers)))
    names = {line.partition(" ")[0] for line in first if re.search(r"\b[NM]\b", line)}
    least += len({SINGLES_OUT[name] for name in names & SINGLES_OUT.keys()})
    return Argument(kind, range(least, least + in_n + 1))


def _places_of(one: Program, other: Program) -> Callable[[Any, Any], Places]:
    """Draw numbers that know their place: on the axis that the sizes of two programs tell."""
    pairs = {i: (a.shape, b.shape) for i, (a, b) in enumerate(zip(one.floats, other.floats))}
    pairs |= {f"y{i}": pair for i, pair in enumerate(zip(one.shapes, other.shapes))}

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


# The rules ----------------------------------------------------------------------------------------

_CELL, _SIZES = "f[B,E] f[B,H]", {"B": 1, "E": 3, "H": 2}
_LINEAR, _NORM, _QKV = "f[B,I] f[I,O] f[O]", "f[B,E] f[E] f[E]", "f[B,T,D] f[B,T,D] f[B,T,D]"
CLASSES = Axis("softmax_cross_entropy", "f[B,V] i[B]<V", "V", {"B": 1})
AXES = [
    Axis("batch_norm", _NORM, "E", {"B": 3}),
    Axis("batch_norm", _NORM, "B", {"E": 1}),
    Axis("causal_attention", _QKV, "B", {"T": 2, "D": 3}),
    Axis("causal_attention", _QKV, "D", {"B": 1, "T": 2}),
    Axis("causal_mean", "f[B,T,E]", "B", {"T": 2, "E": 3}),
    Axis("causal_mean", "f[B,T,E]", "E", {"B": 3, "T": 2}),
    *(Axis("gru_cell", _CELL + 3 * " f[E+H,H] f[H]", axis, _SIZES) for axis in "BE"),
    Axis("l2_penalty", "f[N]", "N", {}, {"scale": 0.7}),
    Axis("layer_norm", _NORM, "B", {"E": 3}),
    Axis("layer_norm", _NORM, "E", {"B": 1}),
    *(Axis("linear", _LINEAR, axis, {"B": 2, "I": 3, "O": 4}) for axis in "BIO"),
    # With O < min(B, I) it is another program.
    *(Axis("linear", _LINEAR, axis, {"B": 3, "I": 4, "O": 2}) for axis in "BI"),
    Axis("linear", _LINEAR, "O", {"B": 99, "I": 99}),
    *(Axis("lstm_cell", f"{_CELL} f[B,H] f[E+H,L] f[L]", a, {**_SIZES, "L": 8}) for a in "BE"),
    Axis("rms_norm", "f[B,E] f[E]", "B", {"E": 3}),
    Axis("rms_norm", "f[B,E] f[E]", "E", {"B": 1}),
    *(Axis("rnn_cell", f"{_CELL} f[E+H,H] f[H]", axis, _SIZES) for axis in "BE"),
    Axis("softmax", "f[B,V]", "B", {"V": 3}),
    Axis("softmax", "f[B,V]", "V", {"B": 1}),
    Axis("softmax_cross_entropy", "f[B,V] i[B]<V", "B", {"V": 3}),
    CLASSES,
]


MIRRORED = {
    "causal_mean": ("f[2,3,4]", {}, ["cumsum", "div"]),
    "embedding": ("i[2,4]<3 f[3,5]", {}, ["gather"]),
    "flatten": ("f[2,7,3]", {"block_size": 7}, ["reshape"]),
    "flatten_consecutive": ("f[2,8,3]", {"n": 2}, ["reshape"]),
}
"""Linear rules: their operations on floats, of which bwd has the transposes in reverse order."""
TRANSPOSE = {"cumsum": "cumsum", "div": "div", "gather": "scatter-add", "reshape": "reshape"}
NO_ARGUMENT = {"causal_attention": "T", "gru_cell": "H", "lstm_cell": "H", "rnn_cell": "H"}
"""Axes without an argument: the proof holds at the sizes that were tried."""


def proofs(axis: Axis, sizes: range) -> Iterator[Proof]:
    """Prove a rule at the sizes that an argument needs."""
    op, fwd, bwd = axis.functions()
    for n in sizes:
        args = axis.arguments_at(n)
        if axis == CLASSES:  # the target is the largest logit in the first row, not in the second
            logits = np.random.default_rng(0).normal(size=(2, n))
            args = logits, np.argmax(logits, -1) - [0, 1]
        yield prove_rule(fwd, bwd, *args, op=op, n_points=1, name=f"{axis.rule}, {axis.axis} = {n}")
