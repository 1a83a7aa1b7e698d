"""Prove that a backward function is the transpose of the derivative of its forward, exactly."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxmore.errors import describe
from jaxmore.prove.cells import Cell
from jaxmore.prove.counterexample import differs_at_the_arguments, refute
from jaxmore.prove.degrees import TotalDegrees
from jaxmore.prove.interpreter import Interpreter
from jaxmore.prove.modular import PRIMES
from jaxmore.prove.program import Program, Wrong, dot, evaluate
from jaxmore.prove.residues import NotProved, Redraw, Residues
from jaxmore.prove.shapes import holds_at_every_shape

NOT_EXACT = {
    "fwd": "fwd is not exactly op",
    "bwd": "bwd is not exactly the transposed derivative of fwd",
}
LEVELS = (3, len(PRIMES))
DRAWS = 8
EVERY_SHAPE = (
    "the rule is elementwise, so the proof holds at every shape where it is the same program"
)


@dataclass
class Proof:
    """The result of :func:`prove_rule`. Prints as a few lines."""

    name: str
    verdict: str = "not proved"
    """"proved", "wrong" or "not proved"."""
    text: str = ""
    bound: float | None = None
    """If bwd is wrong, the chance that it passes at all points; None where no degree is known."""
    notes: list[str] = field(default_factory=list[str])

    @property
    def passed(self) -> bool:
        """Whether the rule is proved."""
        return self.verdict == "proved"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"passed": self.passed, **self.__dict__}

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.verdict}{self.text}"]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def prove_rule(
    fwd: Callable[..., tuple[Any, Any]],
    bwd: Callable[..., tuple[Any, ...]],
    *args: Any,
    op: Callable[..., Any] | None = None,
    name: str | None = None,
    n_points: int = 3,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Proof:
    """Prove a rule on arguments of these shapes, in exact arithmetic and without a tolerance.

    Args:
        fwd: ``fwd(*args, **options) -> (y, residuals)``.
        bwd: ``bwd(residuals, dy, **options) -> cotangents``, a tuple with one for each argument.
        *args: as in :func:`jaxmore.testing.check_rule`. The values of the floats decide
            which branch each comparison takes, and at them the signs of roots are compared.
        op: the plain forward; if given, ``fwd`` is proved to compute the same function.
        name: what to call the rule.
        n_points: the number of random points.
        seed: the seed of the points.
        options: keyword options of the rule.

    Returns:
        The verdict: "proved" with the chance of an error, "wrong" with a counterexample, or
        "not proved" with the reason.
    """
    proof = Proof(name or getattr(fwd, "__name__", "rule").removesuffix("_fwd"))
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True), np.errstate(all="ignore"):
        try:
            fwd, bwd = (partial(f, **(options or {})) for f in (fwd, bwd))
            op = op and partial(op, **(options or {}))
            program = Program(fwd, bwd, op, args)
            wrong, run = None, None
            for _ in range(n_points):
                wrong, run = compare_at_a_point(program, rng)
                if wrong:
                    break
            assert run
            if not wrong and run.has_roots and differs_at_the_arguments(program, rng, run):
                wrong = "bwd"  # by the sign of a root, which the field does not know
            if wrong:
                refute(program, rng)
                raise NotProved(
                    f"{NOT_EXACT[wrong]}, but the prover found no counterexample. Either the rule "
                    "cuts off what rounds to zero, or the prover lacks a law"
                )
            proof.verdict, proof.bound = "proved", _bound(program) ** n_points
            shapes = " ".join(str(a.shape) for a in program.floats)
            proof.text = f" for {shapes}{probability(proof.bound, n_points)}"
            if holds_at_every_shape(fwd, bwd, program):
                proof.notes.append(EVERY_SHAPE)
            proof.notes += _notes(run)
        except Wrong as error:
            proof.verdict, proof.text = "wrong", f"\n{error}"
        except NotProved as error:
            proof.text = f": {error}"
        except (Exception, SystemExit) as error:  # whatever a user's rule raises
            proof.text = f": {describe(error)}"
    return proof


def _notes(run: Interpreter) -> list[str]:
    missed = {
        f"{place} takes only branch {', '.join(map(str, sorted(taken)))} of {n_cases} "
        "(counted from 0): the proof does not cover the others": place
        for place, n_cases, taken in run.reached.values()
        if len(taken) < n_cases
    }
    same = {
        f"{place} always compares with the same outcome: the proof does not cover the other": place
        for place, outcomes in run.compared.values()
        if len(outcomes) == 1
    }
    notes = [*missed, *(note for note, place in same.items() if place not in missed.values())]
    notes += [
        f"{place} rounds to an integer: the proof does not cover other integers"
        for place in sorted(run.stepped)
    ]
    notes += [
        f"{place} ends its loop by a comparison: the proof does not cover other numbers of steps"
        for place in sorted(run.looped)
    ]
    notes += [
        f"{place} depends on an order: the proof does not cover other orders or ties"
        for place in sorted(run.ordered)
    ]
    notes += [
        f"{place} compares equal numbers: the proof does not cover the points around them"
        for place in sorted(run.tied)
    ]
    if run.unrecognised:
        values = ", ".join(map(repr, sorted(run.unrecognised)))
        notes.append(f"the prover takes these constants as exact binary numbers: {values}")
    return notes


def compare_at_a_point(
    program: Program, rng: np.random.Generator
) -> tuple[str | None, Interpreter]:
    """Compare at one random point; return the first argument that differs."""
    for levels in LEVELS:
        for _ in range(DRAWS):
            try:
                return _compare(program, rng, levels)
            except Redraw:
                continue
            except NotProved as error:
                if levels == LEVELS[-1] or "nested too deeply" not in str(error):
                    raise
                break
        else:
            raise NotProved("a divisor is zero at every random point")
    raise AssertionError


def _compare(
    program: Program, rng: np.random.Generator, levels: int
) -> tuple[str | None, Interpreter]:
    run = Interpreter(partial(Residues.constant, levels=levels))
    draw = partial(Residues.random, rng, levels=levels)
    xs = [draw(x.shape) for x in program.floats]
    vs = [Residues(draw(x.shape).parts[:1]) for x in program.floats]
    dys = [Cell(rng.normal(size=shape), draw(shape)) for shape in program.shapes]
    cells = [Cell(a, x, v) for a, x, v in zip(program.floats, xs, vs, strict=True)]
    ys, cotangents = evaluate(program, run, cells, dys)
    if program.op:
        for ours, theirs in zip(ys, run.run(program.op, cells), strict=True):
            if not (ours.number - run.lift(theirs).number).is_zero().all():
                return "fwd", run
    total = dot(run, [(dy.number, y.tangent) for dy, y in zip(dys, ys, strict=True)])
    ours = dot(run, [(d.number, v) for d, v in zip(cotangents, vs, strict=True)])
    return (None if (total - ours).is_zero().all() else "bwd"), run


def _bound(program: Program) -> float:
    """Schwartz and Zippel's bound: a degree over the number of values that are drawn.

    Of two identities, the derivative's and that of fwd and op, the one of larger degree counts: a
    wrong rule breaks at least one of them.
    """
    run, rng = Interpreter(TotalDegrees.constant), np.random.default_rng(0)
    one = [TotalDegrees(x.shape, 1, 0) for x in program.floats]
    cells = [Cell(a, x, x) for a, x in zip(program.floats, one, strict=True)]
    dys = [Cell(rng.normal(size=shape), TotalDegrees(shape, 1, 0)) for shape in program.shapes]
    ys, cotangents = evaluate(program, run, cells, dys)
    total = dot(run, [(dy.number, y.tangent) for dy, y in zip(dys, ys, strict=True)])
    difference = total - dot(run, [(d.number, v) for d, v in zip(cotangents, one, strict=True)])
    degrees = [difference]
    if program.op:
        theirs = [run.lift(y).number for y in run.run(program.op, cells)]
        degrees += [y.number - other for y, other in zip(ys, theirs, strict=True)]
    return bound_of(degrees)


def bound_of(degrees: Iterable[TotalDegrees]) -> float:
    """The chance that one of these numbers is zero at a random point, though it is not always."""
    return min(max(d.above + d.below for d in degrees) / PRIMES[-1], 1.0)


def probability(bound: float, n_points: int) -> str:
    """Say how likely a wrong rule passes."""
    points = "1 random point" if n_points == 1 else f"{n_points} random points"
    return f": a wrong rule passes at {points} with probability < {bound:.0e}"
