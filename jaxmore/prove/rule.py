"""Prove that a backward function is the transpose of the derivative of its forward, exactly."""

import contextlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxmore.prove import elementwise as elementwise
from jaxmore.prove import structure as structure
from jaxmore.prove.balls import Balls
from jaxmore.prove.cells import Cell, places
from jaxmore.prove.degrees import Degrees
from jaxmore.prove.interpreter import Interpreter
from jaxmore.prove.modular import PRIMES
from jaxmore.prove.residues import NotProved, Redraw, Residues

LEVELS = (3, len(PRIMES))
DRAWS = 8


@dataclass
class Proof:
    """The result of :func:`prove_rule`. Prints as a few lines."""

    name: str
    verdict: str = "not proved"
    """"proved", "wrong" or "not proved"."""
    text: str = ""
    bound: float = 1.0
    """If the rule is wrong, the chance that it passes at all points."""
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


class _Program:
    """The jaxprs of a rule on its float leaves."""

    def __init__(self, fwd: Any, bwd: Any, op: Any, args: Sequence[Any]) -> None:
        leaves, self.tree = jax.tree.flatten(tuple(args), is_leaf=lambda leaf: leaf is None)
        arrays = [a if a is None else jax.numpy.asarray(a) for a in leaves]
        self.is_float = [
            a is not None and jax.numpy.issubdtype(a.dtype, np.floating) for a in arrays
        ]
        self.floats = [np.asarray(a, "float64") for a, f in zip(arrays, self.is_float, strict=True)
                       if f]  # fmt: skip
        self.arrays, self.names = arrays, _names(fwd, args)
        if not self.floats:
            raise NotProved("no argument is a float array")
        self.fwd, shapes = jax.make_jaxpr(self._on_floats(fwd), return_shape=True)(*self.floats)
        self.op = op and jax.make_jaxpr(self._on_floats(op))(*self.floats)
        y, residuals = shapes
        self.n_outputs = len(jax.tree.leaves(y))
        self.bwd, cotangents = jax.make_jaxpr(bwd, return_shape=True)(residuals, y)
        self.places = self._match(cotangents)
        self.shapes = [leaf.shape for leaf in jax.tree.leaves(y)]

    def _on_floats(self, function: Any) -> Any:
        def on_floats(*floats: Any) -> Any:
            drawn = iter(floats)
            leaves = [next(drawn) if f else a
                      for a, f in zip(self.arrays, self.is_float, strict=True)]  # fmt: skip
            return function(*jax.tree.unflatten(self.tree, leaves))

        return on_floats

    def _match(self, cotangents: Any) -> list[int]:
        """The place of each float leaf's cotangent among the leaves that bwd returns."""
        try:
            flat = self.tree.flatten_up_to(cotangents)
        except (ValueError, TypeError) as error:
            raise Wrong("structure", f"the cotangents do not fit: {error}") from None
        found, at = list[int](), 0
        floats = iter(self.floats)
        for name, d, is_float in zip(self.names, flat, self.is_float, strict=True):
            if is_float:
                shape = next(floats).shape
                if d is None or not hasattr(d, "shape") or d.shape != shape:
                    raise Wrong(name, f"its cotangent is {d}, and its shape {shape}")
                found.append(at)
            at += len(jax.tree.leaves(d))
        return found


class Wrong(Exception):
    """The rule is wrong, with certainty."""

    def __init__(self, argument: str, text: str) -> None:
        super().__init__(f"{argument}: {text}")


def prove_rule(
    fwd: Callable[..., tuple[Any, Any]],
    bwd: Callable[..., tuple[Any, ...]],
    *args: Any,
    op: Callable[..., Any] | None = None,
    name: str | None = None,
    n_points: int = 3,
    seed: int = 0,
    **options: Any,
) -> Proof:
    """Prove a rule on arguments of these shapes, in exact arithmetic and without a tolerance.

    Args:
        fwd: ``fwd(*args, **options) -> (y, residuals)``.
        bwd: ``bwd(residuals, dy, **options) -> cotangents``, a tuple with one for each argument.
        *args: as in :func:`jaxmore.testing.check_rule`. The values of the floats only decide
            which branch each comparison takes.
        op: the plain forward; if given, ``fwd`` is proved to compute the same function.
        name: what to call the rule.
        n_points: the number of random points.
        seed: the seed of the points.
        **options: keyword options of the rule.

    Returns:
        The verdict: "proved" with the chance of an error, "wrong" with a counterexample, or
        "not proved" with the reason.
    """
    proof = Proof(name or getattr(fwd, "__name__", "rule").removesuffix("_fwd"))
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True), np.errstate(all="ignore"):
        try:
            bound = [f and partial(f, **options) for f in (fwd, bwd, op)]
            program = _Program(bound[0], bound[1], bound[2], args)
            wrong, run = None, None
            for _ in range(n_points):
                wrong, run = _point(program, rng)
                if wrong:
                    break
            assert run
            if wrong:
                _refute(program, rng)
                raise NotProved(f"{wrong} is no identity, but right to 60 bits at two points: "
 "it cuts off what rounds to zero, or the prover lacks a law")  # fmt: skip
            proof.verdict, proof.bound = "proved", _bound(program) ** n_points
            shapes = " ".join(str(a.shape) for a in program.floats)
            proof.text = f" for {shapes}: wrong with probability < {proof.bound:.0e}"
            proof.text += f" at {n_points} points"
            proof.notes += _notes(run)
        except Wrong as error:
            proof.verdict, proof.text = "wrong", f"\n{error}"
        except NotProved as error:
            proof.text = f": {error}"
        except Exception as error:  # whatever a user's rule raises
            line = str(error).split("\n", 1)[0]
            proof.text = f": {type(error).__name__}: {line}"
    return proof


def _notes(run: Interpreter) -> list[str]:
    notes = [
        f"{place} took branch {sorted(taken)} of {run.sizes[place]}: the others are not proved"
        for place, taken in run.reached.items()
        if len(taken) < run.sizes[place]
    ]
    if run.unrecognised:
        values = ", ".join(map(repr, sorted(run.unrecognised)))
        notes.append(f"taken as exact binary numbers: {values}")
    return notes


def _point(program: _Program, rng: np.random.Generator) -> tuple[str | None, Interpreter]:
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
            raise NotProved("a divisor is zero at every point")
    raise AssertionError


def _compare(
    program: _Program, rng: np.random.Generator, levels: int
) -> tuple[str | None, Interpreter]:
    run = Interpreter(partial(Residues.constant, levels=levels))
    draw = partial(Residues.random, rng, levels=levels)
    xs = [draw(x.shape) for x in program.floats]
    vs = [Residues(draw(x.shape).parts[:1]) for x in program.floats]
    dys = [draw(shape) for shape in program.shapes]
    cells = [Cell(a, x, v) for a, x, v in zip(program.floats, xs, vs, strict=True)]
    ys, cotangents = evaluate(program, run, rng, cells, dys)
    if program.op:
        for ours, theirs in zip(ys, run.run(program.op, cells), strict=True):
            if not (ours.number - run.lift(theirs).number).is_zero().all():
                return "fwd", run
    total = dot(run, [(dy, y.tangent) for dy, y in zip(dys, ys, strict=True)])
    ours = dot(run, list(zip(cotangents, vs, strict=True)))
    return (None if (total - ours).is_zero().all() else "bwd"), run


def evaluate(
    program: _Program, run: Interpreter, rng: np.random.Generator, cells: list[Cell], dys: list[Any]
) -> tuple[list[Cell], list[Any]]:
    """Run fwd with tangents, then bwd on its residuals; return the outputs and cotangents."""
    outs = run.run(program.fwd, cells)
    ys = [run.lift(y) for y in outs[: program.n_outputs]]
    residuals = [
        replace(r, tangent=None) if isinstance(r, Cell) else r for r in outs[program.n_outputs :]
    ]
    grads = [Cell(rng.normal(size=y.real.shape), dy) for y, dy in zip(ys, dys, strict=True)]
    results = run.run(program.bwd, [*residuals, *grads])
    return ys, [run.lift(results[i]).number for i in program.places]


def dot(run: Interpreter, pairs: list[tuple[Any, Any]]) -> Any:
    """Sum the products of the pairs; None is zero."""
    total = run.lift(0.0)
    for a, b in pairs:
        if b is not None:
            product = a * b
            flat = product.take(places(product.shape).reshape(-1))
            total = total + run.total(Cell(np.zeros(flat.shape), flat))
    return total.number


def _bound(program: _Program) -> float:
    """Degree over the number of values that are drawn: Schwartz and Zippel's bound."""
    run, rng = Interpreter(Degrees.constant), np.random.default_rng(0)
    one = [Degrees(x.shape, 1, 0) for x in program.floats]
    cells = [Cell(a, x, x) for a, x in zip(program.floats, one, strict=True)]
    dys = [Degrees(shape, 1, 0) for shape in program.shapes]
    ys, cotangents = evaluate(program, run, rng, cells, dys)
    pairs = [(dy, y.tangent) for dy, y in zip(dys, ys, strict=True)]
    difference = dot(run, pairs) - dot(run, list(zip(cotangents, one, strict=True)))
    return min((difference.above + difference.below) / PRIMES[-1], 1.0)


# Counterexamples ----------------------------------------------------------------------------------


def _refute(program: _Program, rng: np.random.Generator) -> None:
    """Raise Wrong where balls show that a cotangent is not the derivative."""
    small = [_small(rng, x) for x in program.floats]
    for floats in (small, program.floats):
        with contextlib.suppress(NotProved):
            _difference(program, floats, rng)


def _small(rng: np.random.Generator, x: Any) -> Any:
    return rng.choice([-3, -2, -1, -0.5, 0.5, 1, 2, 3], x.shape)


def _difference(program: _Program, floats: list[Any], rng: np.random.Generator) -> None:
    run = Interpreter(Balls.constant)
    numbers = [Balls.of(x) for x in floats]
    dys_real = [_small(rng, np.empty(shape)) for shape in program.shapes]
    dys = [Balls.of(dy) for dy in dys_real]
    plain = [Cell(a, x) for a, x in zip(floats, numbers, strict=True)]
    ys, cotangents = evaluate(program, run, rng, plain, dys)
    if program.op:
        for i, theirs in enumerate(run.run(program.op, plain)):
            other = run.lift(theirs).number
            apart = np.argwhere(ys[i].number.differs(other))
            if len(apart):
                at = tuple(apart[0].tolist())
                raise Wrong("fwd", f"at {at} it is {ys[i].number.floats()[at]:.9g}, and op is "
                            f"{other.floats()[at]:.9g}{_at(program, floats)}")  # fmt: skip
    for k, x in enumerate(floats):
        for i in range(x.size):
            direction = np.zeros(x.shape)
            direction.reshape(-1)[i] = 1
            cells = list(plain)
            cells[k] = replace(plain[k], tangent=Balls.of(direction))
            outs = [run.lift(y) for y in run.run(program.fwd, cells)[: program.n_outputs]]
            right = dot(run, [(dy, y.tangent) for dy, y in zip(dys, outs, strict=True)])
            ours = cotangents[k].take(np.array(i))
            scale = abs(float(right.floats())) + max(
                float(np.abs(c.floats()).max(initial=0)) for c in cotangents
            )
            visible = abs(float(ours.floats()) - float(right.floats())) > 2.0**-60 * scale
            if visible and ours.differs(right).all():
                at = tuple(int(j) for j in np.unravel_index(i, x.shape))
                names = [n for n, f in zip(program.names, program.is_float, strict=True) if f]
                index = f"[{', '.join(map(str, at))}]" if at else ""
                dy = f", dy = {', '.join(str(d.tolist()) for d in dys_real)}"
                dy = dy if sum(d.size for d in dys_real) <= 24 else ""
                raise Wrong(f"{names[k]}{index}", f"{ours.floats():.9g} in place of "
                            f"{right.floats():.9g}{_at(program, floats)}{dy}")  # fmt: skip


def _at(program: _Program, floats: list[Any]) -> str:
    names = [n for n, f in zip(program.names, program.is_float, strict=True) if f]
    if sum(x.size for x in floats) > 24:
        return ", at numbers of one digit"
    values = ", ".join(f"{n} = {x.tolist()}" for n, x in zip(names, floats, strict=True))
    return f"\n  at {values}"


def _names(function: Any, args: Sequence[Any]) -> list[str]:
    parameters = list(inspect.signature(function).parameters.values())
    names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    names += [f"argument {i}" for i in range(len(names), len(args))]
    paths = jax.tree_util.tree_leaves_with_path(tuple(args), is_leaf=lambda leaf: leaf is None)
    return [names[path[0].idx] + jax.tree_util.keystr(path[1:]) for path, _ in paths]
