"""Run a jaxpr in exact arithmetic, with forward-mode derivatives that share nothing with JAX's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from jax.extend import core

from jaxmore.prove.cells import Cell, places
from jaxmore.prove.constants import Constant, recognise
from jaxmore.prove.residues import NotProved

Handler = Callable[..., Any]
HANDLERS: dict[str, Handler] = {}
"""For each primitive a function of the interpreter, the values and the parameters."""


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Register a handler."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register


class Interpreter:
    """Evaluates jaxprs in one kind of numbers.

    A value is a :class:`Cell` where it depends on a float argument. All others (integers, masks,
    keys, constants) are plain arrays, computed by JAX itself.

    Attributes:
        reached: for each operation that chooses (by its path), its place (source line), the number
            of its cases, and those that were taken.
        ordered: the places that take an order or an extreme of many elements.
        tied: the places that compare equal elements.
        compared: for each operation that compares, its place and the outcomes that occurred.
        stepped: the places that round a number to an integer.
        looped: the places of loops whose condition or body compares.
        has_roots: whether a square root was taken.
        unrecognised: the float constants that are taken as binary numbers.
        place: the source line of the operation that runs.
        path: that operation, after those that hold it. Each step of a loop has the same.
        caller: the line that called the function of JAX's that runs, or "".
        seeds: tangents to add at variables of the outermost jaxpr.
    """

    def __init__(self, constant: Callable[[Constant], Any]) -> None:
        self._constant = constant
        self._constants: dict[float, Any] = {}
        self.reached: dict[tuple[int, ...], tuple[str, int, set[int]]] = {}
        self.ordered: set[str] = set()
        self.tied: set[str] = set()
        self.compared: dict[tuple[int, ...], tuple[str, set[bool]]] = {}
        self.path: tuple[int, ...] = ()
        self.stepped: set[str] = set()
        self.looped: set[str] = set()
        self.has_roots = False
        self.unrecognised: set[float] = set()
        self.place = ""
        self.caller = ""

    def run(
        self, closed: Any, args: Sequence[Any], seeds: Mapping[Any, Any] | None = None
    ) -> list[Any]:
        """Evaluate a closed jaxpr."""
        jaxpr, env = closed.jaxpr, dict[Any, Any]()

        def write(variables: Sequence[Any], values: Sequence[Any]) -> None:
            for variable, value in zip(variables, values, strict=True):
                if seeds and variable in seeds:
                    seed = seeds[variable]
                    tangent = seed if value.tangent is None else value.tangent + seed
                    value = replace(value, tangent=tangent)
                env[variable] = value

        def read(atom: Any) -> Any:
            return np.asarray(atom.val) if isinstance(atom, core.Literal) else env[atom]

        write(jaxpr.constvars, closed.consts)
        write(jaxpr.invars, args)
        for equation in jaxpr.eqns:
            write(equation.outvars, self.evaluate(equation, list(map(read, equation.invars))))
        return [read(variable) for variable in jaxpr.outvars]

    def evaluate(self, equation: Any, values: list[Any]) -> list[Any]:
        """Evaluate one equation."""
        outer, self.path = self.path, (*self.path, id(equation))
        outs = self._evaluate(equation, values)
        self.path = outer
        return outs

    def _evaluate(self, equation: Any, values: list[Any]) -> list[Any]:
        name = equation.primitive.name
        self.place = self.caller or _source(equation)
        if not (any(isinstance(v, Cell) for v in values) or has_body(equation)):
            outs = equation.primitive.bind(*values, **equation.params)
            return list(outs) if equation.primitive.multiple_results else [outs]
        self.has_roots |= name in ("sqrt", "rsqrt", "pow")
        if name not in HANDLERS:
            raise NotProved(f"the prover has no exact meaning for {name} at {self.place}")
        try:
            outs = HANDLERS[name](self, *values, **equation.params)
        except NotProved as error:
            text = str(error)
            place = "" if " at " in text else f" ({name} at {self.place})"
            raise NotProved(text + place) from None
        outs = outs if isinstance(outs, list) else [outs]
        return outs

    def lift(self, value: Any) -> Cell:
        """Return a plain array as exact numbers."""
        if isinstance(value, Cell):
            return value
        array = np.asarray(value, "float64")
        if not np.isfinite(array).all():
            raise NotProved("a value is not finite")
        unique, index = np.unique(array, return_inverse=True)
        numbers = [self.scalar(float(u)) for u in unique] or [self.scalar(0.0)]
        table = type(numbers[0]).concatenate(numbers)
        return Cell(array, table.take(index.reshape(array.shape)))

    def scalar(self, value: float) -> Any:
        """Return the number that a constant means."""
        if value not in self._constants:
            meaning = recognise(value)
            if not meaning.is_recognised:
                self.unrecognised.add(value)
            self._constants[value] = self._constant(meaning)
        return self._constants[value]

    def symbol(self, rational: Fraction, half_pi: int = 0) -> Any:
        """Return rational · √π^half_pi."""
        return self._constant(Constant(rational, Fraction(1), half_pi))

    def choose(self, which: Any, cases: Sequence[Any]) -> Any:
        """Select elementwise, and note which cases were taken."""
        which = np.asarray(which, int)
        self.note_choice(len(cases), set(np.unique(which).tolist()))
        if not any(isinstance(case, Cell) for case in cases):
            return np.choose(which, [np.asarray(c) for c in cases])
        shape = next(c.real.shape for c in cases if isinstance(c, Cell))
        which = np.broadcast_to(which, shape)
        lifted: list[Cell] = []
        for i, case in enumerate(cases):
            if not isinstance(case, Cell):
                case = np.where(which == i, np.broadcast_to(case, shape), 0)
            lifted.append(self.lift(case))
        index = which * int(np.prod(shape)) + places(shape)
        return self.join(lifted).take(index)

    def note_choice(self, n_cases: int, taken: set[int]) -> None:
        """Note which of some cases the current operation takes."""
        place, _, before = self.reached.get(self.path, ("", 0, set[int]()))
        self.reached[self.path] = place or self.place, n_cases, before | taken

    def join(self, cells: Sequence[Cell]) -> Cell:
        """Concatenate flattened cells."""
        kind = type(cells[0].number)
        tangent = None
        if any(c.tangent is not None for c in cells):
            zero = self.scalar(0.0)
            tangents = [zero.like(c.number) if c.tangent is None else c.tangent for c in cells]
            tangent = kind.concatenate(tangents)
        real = np.concatenate([np.ravel(c.real) for c in cells])
        return Cell(real, kind.concatenate([c.number for c in cells]), tangent)

    def total(self, cell: Cell) -> Cell:
        """Sum over the first axis."""
        n, rest = cell.real.shape[0], cell.real.shape[1:]
        index = places(cell.real.shape)
        if n == 0:
            return self.lift(np.zeros(rest))
        while n > 1:  # pairs, so that there are few operations
            half = n // 2
            pairs = cell.take(index[:half]) + cell.take(index[half : 2 * half])
            if n % 2:
                joined = self.join([pairs, cell.take(index[-1])])
                cell, n = joined, half + 1
            else:
                cell, n = pairs, half
            index = places((n, *rest))
            cell = cell.take(index)
        return cell.take(index[0])


def has_body(equation: Any) -> bool:
    """Whether an equation holds equations of its own."""
    name, params = equation.primitive.name, equation.params
    return "jaxpr" in params or "call_jaxpr" in params or name in ("cond", "while")


def real(value: Any) -> Any:
    """Return the float64 reading of a value."""
    return value.real if isinstance(value, Cell) else np.asarray(value)


def closed(jaxpr: Any) -> Any:
    """Return a closed jaxpr, whatever kind a primitive holds."""
    return jaxpr if hasattr(jaxpr, "consts") else core.ClosedJaxpr(jaxpr, ())


def _source(equation: Any) -> str:
    """Name the user's line that made an equation."""
    for frame in frames_of(equation):
        if is_users(frame):
            return f"{frame.file_name.rsplit('/', 1)[-1]}:{frame.line_num}"
    return "an unknown line"


def frames_of(equation: Any) -> Sequence[Any]:
    """List the calls that made an equation, the innermost first."""
    return getattr(equation.source_info.traceback, "frames", [])


def is_users(frame: Any) -> bool:
    """Whether a call is in the user's code."""
    file = frame.file_name
    return "/jax/" not in file and "<" not in file and "jaxtyping" not in file
