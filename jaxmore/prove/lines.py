"""Prove the cotangent of every named value inside a program, each against its own derivative."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxmore.prove.cells import Cell
from jaxmore.prove.degrees import TotalDegrees
from jaxmore.prove.interpreter import Interpreter
from jaxmore.prove.program import dot
from jaxmore.prove.residues import NotProved, Residues
from jaxmore.prove.rule import Proof, bound_of, probability

LEVELS = 3


def prove_lines(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    params: Mapping[str, np.ndarray[Any, Any]],
    *,
    n_points: int = 3,
    seed: int = 0,
) -> list[Proof]:
    """Prove a program that computes the cotangent of each intermediate and parameter by hand.

    Args:
        forward: ``forward(*params) -> values``, a NamedTuple whose last field is the loss.
        backward: ``backward(params, values) -> cotangents``, a NamedTuple with names of parameters
            and of values.
        params: the parameters by name, in the order of ``forward``'s arguments.
        n_points: the number of random points.
        seed: the seed of the points.

    Returns:
        A proof for each cotangent.
    """
    rng, arrays = np.random.default_rng(seed), list(params.values())
    failures = dict[str, str]()
    with jax.enable_x64(True), np.errstate(all="ignore"):
        program, values = jax.make_jaxpr(forward, return_shape=True)(*arrays)
        lines, shapes = jax.make_jaxpr(backward, return_shape=True)(arrays, values)
        variables = dict(zip(params, program.jaxpr.invars, strict=True))
        variables |= dict(zip(values._fields, program.jaxpr.outvars, strict=True))

        def differences(run: Interpreter, draw: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
            cells = [Cell(a, draw(a.shape)) for a in arrays]
            cotangents = run.run(lines, [*cells, *run.run(program, cells)])
            for name, cotangent in zip(shapes._fields, cotangents, strict=True):
                direction = draw(np.shape(cotangent.real))
                try:
                    loss = run.run(program, cells, {variables[name]: direction})[-1].tangent
                    ours = dot(run, [(run.lift(cotangent).number, direction)])
                except NotProved as error:
                    failures[name] = f"not proved: {error}"
                    continue
                yield name, ours if loss is None else loss - ours

        for _ in range(n_points):
            draw = partial(Residues.random, rng, levels=LEVELS)
            run = Interpreter(partial(Residues.constant, levels=LEVELS))
            for name, difference in differences(run, draw):
                if not difference.is_zero().all():
                    failures[name] = "wrong"
        counted = differences(
            Interpreter(TotalDegrees.constant), lambda shape: TotalDegrees(shape, 1, 0)
        )
        bounds = {name: bound_of([degree]) ** n_points for name, degree in counted}
    return [
        Proof(f"d{name}", failures[name])
        if name in failures
        else Proof(
            f"d{name}",
            "proved",
            " at this size" + probability(bounds[name], n_points),
            bounds[name],
        )
        for name in shapes._fields
    ]
