"""Judge each backward line of a learner's file on its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import TextWrapper
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmore.ninja.bank import Mistake, answer
from jaxmore.ninja.comparison import Comparison, autodiff, compare
from jaxmore.ninja.exercise import Exercise
from jaxmore.ninja.program import Change, Program, Run, parse, to_numpy
from jaxmore.testing.diagnosis import Evidence, cause_of, where

RIGHT = 1e-6
"""What a right cotangent may be off, relative to its largest element: helpers may be float32."""

RIGHT_ALONE = 1e-4
"""The same for a run without help, in which the roundings of such helpers add up."""

_LOST = "{} of {} elements are infinite or no number, as after a division by zero or log(0)"
_WRAP = TextWrapper(width=96, initial_indent="  ", subsequent_indent=" " * 8)


class Verdict(NamedTuple):
    """What became of one blank."""

    name: str
    line: int | None
    """Where the file gives it its value, or fails to; None where it does not try."""
    comparison: Comparison | None
    """None where there is no array of the right shape to compare."""
    problem: str | None
    """What is wrong with it, in a few words; None where it is right, or blank."""
    cause: str | None = None
    """What the pattern of the error shows."""
    answer: str | None = None
    """What the bank says of the mistake that gives this value; None where it knows none."""

    @property
    def is_blank(self) -> bool:
        """Whether it is to be written still."""
        return self.comparison is None and self.problem is None

    @property
    def is_right(self) -> bool:
        """Whether it is written, and right."""
        return self.comparison is not None and self.problem is None


class Report(NamedTuple):
    """The verdicts in the order of the backward pass; prints as the table and what comes next."""

    path: Path
    verdicts: list[Verdict]
    more: bool
    """Whether it gives the second hint, too."""
    exercise: Exercise

    @property
    def passed(self) -> bool:
        """Whether every line is right."""
        return all(verdict.is_right for verdict in self.verdicts)

    def __str__(self) -> str:
        wrong = [v for v in self.verdicts if v.problem]
        blank = [v for v in self.verdicts if v.is_blank]
        rows = [
            str(v.comparison or f"{v.name:15s} | {v.problem}")
            for v in self.verdicts
            if not v.is_blank
        ]
        n_right = len(self.verdicts) - len(wrong) - len(blank)
        rows.append(f"{n_right} right, {len(wrong)} wrong, {len(blank)} to be written")
        if wrong:
            rows.append(f"the first wrong one: {self._place(wrong[0])}: {wrong[0].problem}")
            if wrong[0].answer:
                rows.append(_WRAP.fill(wrong[0].answer))
            elif wrong[0].cause:
                rows.append(f"  it looks like this: {wrong[0].cause}")
        elif blank:
            rows.append(f"next: {self._place(blank[0])}")
        for v in (wrong or blank)[:1]:
            hint = self.exercise.hints[v.name]
            rows.append(_WRAP.fill(f"hint: {hint.question}"))
            rows.append(_WRAP.fill(f"more: {hint.more}") if self.more else "  (--hint says more)")
        return "\n".join(rows)

    def _place(self, verdict: Verdict) -> str:
        line = f"line {verdict.line}" if verdict.line else "no line"
        return f"d{verdict.name}, {line} of {self.path}"


def check(path: Path, more: bool = False) -> Report:
    """Run a learner's file on the exercise's batch and judge each backward line on its own.

    The file runs in float64, statement by statement. As soon as a cotangent has its value, the
    right one (by ``jax.vjp``) takes its place: the lines below are judged as if all above were
    right. Where the exercise asks for other numbers (``Exercise.by_other_numbers``) it runs once
    more, with generic ones in these places. Before that it runs as it does alone: a line that
    changes the array of another name, and cotangents that come out wrong in spite of right lines,
    show there.

    Args:
        path: the file that ``jaxmore exercise`` wrote, as far as it is filled in.
        more: give the second hint, too.

    Returns:
        The report, whether all is right or not.

    Raises:
        InputError: the file cannot be read or run, does not hold the exercise, or has changed
            forward lines. What goes wrong on a backward line stands in the report instead.
    """
    program = parse(path)
    exercise = program.exercise
    with jax.enable_x64(True):
        inputs = exercise.batch()
        *params, X, Y = inputs
        values = exercise.forward(exercise.parameters(*params), X, Y)
        of_params, of_values = autodiff(exercise.forward)(exercise.parameters(*params), X, Y)
        true = of_params._asdict() | of_values._asdict()
        rng = np.random.default_rng(0)
        other = {name: jnp.array(rng.normal(size=d.shape)) for name, d in true.items()}
        forward = inputs._asdict() | values._asdict()
        alone = program.run({}, quietly=True)
        # A line that assigns no cotangent may go on with one that is being built up.
        blanks = {f"d{name}" for name in exercise.names}
        harmful = [change for change in alone.changes if change.by & blanks]
        built_up = {c.of: c.place for c in alone.changes if c not in harmful}
        first = program.run(true, built_up=built_up)
        program.refuse_changed(first, forward)
        by_other = exercise.by_other_numbers(inputs, values, other)
        again = program.run(other, quietly=True, built_up=built_up) if by_other else first
        bank = exercise.bank()
        verdicts: list[Verdict] = []
        for name in exercise.names:
            run, given, right = (
                (again, other, other | by_other) if name in by_other else (first, true, true)
            )
            verdict = _judge(name, program, run, forward, right)
            names = {**forward, "n": len(inputs.X), **{f"d{k}": d for k, d in given.items()}}
            verdicts.append(_answer(verdict, run, names, right, bank.get(name, ())))
        verdicts = [_blame(verdict, harmful) for verdict in verdicts]
        if all(verdict.is_right for verdict in verdicts):
            verdicts = [_judge_alone(verdict, alone, true, exercise) for verdict in verdicts]
        return Report(path, verdicts, more, exercise)


def _blame(verdict: Verdict, changes: list[Change]) -> Verdict:
    """Call a line wrong that changes the array of another name."""
    change = next((c for c in changes if f"d{verdict.name}" in c.by), None)
    if change is None:
        return verdict
    problem = f"it changes {change.of}, too: the two share an array, so make a copy first"
    return verdict._replace(line=change.line, problem=problem, cause=None, answer=None)


def _judge_alone(
    verdict: Verdict, alone: Run, right: Mapping[str, Any], exercise: Exercise
) -> Verdict:
    """Compare what stands at the end of the file when it runs without help."""
    if verdict.name in exercise.zero_by_identity:  # what is left is rounding
        return verdict
    oracle = np.asarray(right[verdict.name.removesuffix("_fast")])
    ours = to_numpy(alone.final.get(f"d{verdict.name}"))
    if ours is not None and ours.shape == oracle.shape:
        off = ~(np.abs(ours - oracle) <= RIGHT_ALONE * np.abs(oracle).max())
        if not off.any():
            return verdict
    problem = "the line is right, and yet its value is wrong when the file runs alone"
    return verdict._replace(problem=problem)


def _judge(
    name: str, program: Program, run: Run, forward: Mapping[str, Any], right: Mapping[str, Any]
) -> Verdict:
    if name in run.failures:
        failure = run.failures[name]
        return Verdict(name, failure.line, None, failure.text)
    line, value = program.line_of(f"d{name}"), run.values.get(f"d{name}")
    if value is None:
        return Verdict(name, line, None, None)
    ours = to_numpy(value)
    if ours is None:
        return Verdict(name, line, None, f"of type {type(value).__name__}, not an array of numbers")
    oracle = np.asarray(right[name])
    cause = cause_of(evidence(name, ours, oracle, forward, right, program.exercise))
    if n_lost := int((~np.isfinite(ours)).sum()):
        cause = _LOST.format(n_lost, ours.size)
    if ours.shape != oracle.shape:
        return Verdict(name, line, None, f"shape {ours.shape}, not {oracle.shape}", cause)
    comparison = compare(name, ours, oracle)
    off = ~(np.abs(ours - oracle) <= RIGHT * np.abs(oracle).max())  # ~: a NaN is off
    if not off.any():
        return Verdict(name, line, comparison, None)
    return Verdict(name, line, comparison, f"{where(off)} off, by {comparison.maxdiff:.3g}", cause)


def _answer(
    verdict: Verdict,
    run: Run,
    names: Mapping[str, Any],
    right: Mapping[str, Any],
    mistakes: Sequence[Mistake],
) -> Verdict:
    """Say what the bank knows of a wrong value."""
    name = verdict.name
    ours = to_numpy(run.values.get(f"d{name}"))
    if not (mistakes and verdict.problem) or name in run.failures or ours is None:
        return verdict
    return verdict._replace(answer=answer(mistakes, ours, right[name], names))


def evidence(
    name: str,
    ours: np.ndarray,
    oracle: np.ndarray,
    forward: Mapping[str, Any],
    right: Mapping[str, Any],
    exercise: Exercise,
) -> Evidence:
    """What the diagnosis of :mod:`jaxmore.testing` wants to know of the forward lines."""
    lines = exercise.lines_that_read(name)
    inputs = {k: np.asarray(forward[k]) for line in lines for k in line.reads & forward.keys()}
    if name in exercise.powers:  # an exponent that is off by one shows as this factor
        added = exercise.powers[name]
        inputs[f"{name} + {added}"] = inputs[name] + float(added)
    argument = name.removesuffix("_fast")
    return Evidence(
        argument,
        ours,
        oracle,
        scale=float(np.abs(oracle).max()),
        inputs=inputs,
        dy=[np.asarray(right[line.target]) for line in lines],
        y=[np.asarray(forward[line.target]) for line in lines],
        others={k: np.asarray(right[k]) for k in inputs if k in right and k != argument},
        is_rule=False,
    )
