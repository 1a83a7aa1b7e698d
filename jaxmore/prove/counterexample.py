"""A counterexample in numbers of one digit, certain because two balls do not meet."""

import contextlib
from dataclasses import replace
from typing import Any

import numpy as np

from jaxmore.prove.balls import Balls
from jaxmore.prove.cells import Cell
from jaxmore.prove.interpreter import Interpreter
from jaxmore.prove.program import Program, Wrong, dot, evaluate
from jaxmore.prove.residues import NotProved


def refute(program: Program, rng: np.random.Generator) -> None:
    """Raise Wrong where balls show that a cotangent is not the derivative."""
    small = [_small(rng, x) for x in program.floats]
    for floats in (small, program.floats):
        with contextlib.suppress(NotProved):
            _difference(program, floats, rng)


def differs_at_the_arguments(program: Program, rng: np.random.Generator) -> bool:
    """Whether balls show that the rule is wrong at the given arguments, in a random direction."""
    run = Interpreter(Balls.constant)

    def random(shape: tuple[int, ...]) -> Balls:
        return Balls.of(rng.normal(size=shape))

    vs = [random(x.shape) for x in program.floats]
    dys = [Cell(np.ones(shape), random(shape)) for shape in program.shapes]
    cells = [Cell(x, Balls.of(x), v) for x, v in zip(program.floats, vs, strict=True)]
    with contextlib.suppress(NotProved):
        ys, cotangents = evaluate(program, run, cells, dys)
        total = dot(run, [(dy.number, y.tangent) for dy, y in zip(dys, ys, strict=True)])
        ours = dot(run, [(d.number, v) for d, v in zip(cotangents, vs, strict=True)])
        apart = [total.differs(ours)]
        if program.op:
            theirs = [run.lift(y).number for y in run.run(program.op, cells)]
            apart += [y.number.differs(other) for y, other in zip(ys, theirs, strict=True)]
        return any(d.any() for d in apart)
    return False


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
