"""A counterexample in numbers of one digit, certain because two balls do not meet."""

import contextlib
import itertools
from dataclasses import replace
from typing import Any

import numpy as np

from jaxmore.prove.balls import Balls
from jaxmore.prove.cells import Cell
from jaxmore.prove.interpreter import Interpreter
from jaxmore.prove.program import Program, Wrong, dot, evaluate
from jaxmore.prove.residues import NotProved

N_NEARBY = 8
"""Attempts at arguments nearby."""


def refute(program: Program, rng: np.random.Generator) -> None:
    """Raise Wrong where balls show that a cotangent is not the derivative."""
    small = [_small(rng, x) for x in program.floats]
    for floats in (small, program.floats):
        with contextlib.suppress(NotProved):
            _difference(program, floats, rng)


def differs_at_the_arguments(
    program: Program, rng: np.random.Generator, taken: Interpreter
) -> bool:
    """Whether balls show that the rule is wrong at the given arguments, in a random direction.

    Where a value there is not finite, arguments nearby that take the same branches stand for them.

    Args:
        program: the rule.
        rng: draws the direction and the arguments nearby.
        taken: the interpreter of a run at the given arguments, which knows the branches.
    """
    shapes = [x.shape for x in program.floats]
    signs = [[np.ones(s) for s in shapes], [-np.ones(s) for s in shapes]]
    signs += [[rng.choice([-1, 1], s) for s in shapes] for _ in range(N_NEARBY - 2)]
    nearby = ([_near(x, sign, rng) for x, sign in zip(program.floats, ss, strict=True)]
              for ss in signs)  # fmt: skip
    for floats in itertools.chain([program.floats], nearby):
        run = Interpreter(Balls.constant)
        with contextlib.suppress(NotProved):
            pairs = _compared(program, run, floats, rng)
            same_branches = run.reached == taken.reached and run.compared == taken.compared
            if same_branches and any(a.differs(b).any() for a, b in pairs):
                return True
            if same_branches and all(x.is_known() for pair in pairs for x in pair):
                return False
    raise NotProved(
        "the signs of roots could not be compared: values at these arguments are not finite, and "
        "those nearby are not, either, or take other branches"
    )


def _near(x: Any, sign: Any, rng: np.random.Generator) -> Any:
    """Return generic numbers near x, of the same signs where x is not zero."""
    return x + sign * rng.uniform(0.5, 1, x.shape) * np.where(x == 0, 1, np.abs(x)) / 1024


def _compared(
    program: Program, run: Interpreter, floats: list[Any], rng: np.random.Generator
) -> list[tuple[Balls, Balls]]:
    """Pairs of numbers that are equal at these arguments if the rule is right."""

    def random(shape: tuple[int, ...]) -> Balls:
        return Balls.of(rng.normal(size=shape))

    vs = [random(x.shape) for x in floats]
    dys = [Cell(np.ones(shape), random(shape)) for shape in program.shapes]
    cells = [Cell(x, Balls.of(x), v) for x, v in zip(floats, vs, strict=True)]
    ys, cotangents = evaluate(program, run, cells, dys)
    total = dot(run, [(dy.number, y.tangent) for dy, y in zip(dys, ys, strict=True)])
    ours = dot(run, [(d.number, v) for d, v in zip(cotangents, vs, strict=True)])
    pairs = [(total, ours)]
    if program.op:
        theirs = [run.lift(y).number for y in run.run(program.op, cells)]
        pairs += [(y.number, other) for y, other in zip(ys, theirs, strict=True)]
    return pairs


def _small(rng: np.random.Generator, x: Any) -> Any:
    return rng.choice([-3, -2, -1, -0.5, 0.5, 1, 2, 3], x.shape)


def _difference(program: Program, floats: list[Any], rng: np.random.Generator) -> None:
    run = Interpreter(Balls.constant)
    dys_real = [_small(rng, np.empty(shape)) for shape in program.shapes]
    dys = [Cell(dy, Balls.of(dy)) for dy in dys_real]
    plain = [Cell(x, Balls.of(x)) for x in floats]
    ys, cotangents = evaluate(program, run, plain, dys)
    numbers = [d.number for d in cotangents]
    if program.op:
        for i, theirs in enumerate(run.run(program.op, plain)):
            other = run.lift(theirs).number
            apart = np.argwhere(ys[i].number.differs(other))
            if len(apart):
                at = tuple(apart[0].tolist())
                raise Wrong(f"fwd{_index(at)}", f"{ys[i].number.floats()[at]:.9g} in place of op's "
                            f"{other.floats()[at]:.9g}{_at(program, floats, [])}")  # fmt: skip
    for k, x in enumerate(floats):
        for i in range(x.size):
            direction = np.zeros(x.shape)
            direction.reshape(-1)[i] = 1
            cells = list(plain)
            cells[k] = replace(plain[k], tangent=Balls.of(direction))
            outs = [run.lift(y) for y in run.run(program.fwd, cells)[: program.n_outputs]]
            right = dot(run, [(dy.number, y.tangent) for dy, y in zip(dys, outs, strict=True)])
            ours = numbers[k].take(np.array(i))
            scale = abs(float(right.floats())) + max(
                float(np.abs(d.floats()).max(initial=0)) for d in numbers
            )
            visible = abs(float(ours.floats()) - float(right.floats())) > 2.0**-60 * scale
            if visible and ours.differs(right).all():
                at = tuple(int(j) for j in np.unravel_index(i, x.shape))
                name = f"{program.float_names[k]}{_index(at)}"
                raise Wrong(name, f"{ours.floats():.9g} in place of {right.floats():.9g}"
                            f"{_at(program, floats, dys_real)}")  # fmt: skip


def _index(at: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, at))}]" if at else ""


def _at(program: Program, floats: list[Any], dys: list[Any]) -> str:
    if sum(x.size for x in (*floats, *dys)) > 48:
        return "\n  (at more numbers than fit here: a smaller shape shows them)"
    names = ["dy"] if len(dys) == 1 else [f"dy[{i}]" for i in range(len(dys))]
    named = zip([*program.float_names, *names], [*floats, *dys], strict=True)
    values = ", ".join(f"{name} = {x.tolist()}" for name, x in named)
    return f"\n  at {values}"
