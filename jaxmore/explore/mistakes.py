"""Mistakes to plant in the backward pass: lines of the bank in the place of right ones."""

import ast
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmore.explore.export import Program, export
from jaxmore.explore.network import Sizes, shapes
from jaxmore.ninja.bank.network import MISCONCEPTIONS, RIGHT
from jaxmore.ninja.stepwise import Cotangents, forward

SIZES = Sizes(B=32, T=3, V=27, E=10, H=64)


class Planted(NamedTuple):
    """A line of the backward pass that someone might write."""

    name: str
    """What the address bar calls it."""
    place: str
    """The variable whose cotangent goes wrong first."""
    title: str
    right: str
    """The line, and what takes its place: expressions of the names of the exercise."""
    wrong: str


@cache
def mistakes() -> tuple[Planted, ...]:
    """Return the bank's mistakes that have a name and leave a cotangent its shape, by place."""
    arrays = _arrays(SIZES, "float32")
    return tuple(
        Planted(m.name, place, m.title, RIGHT[place], m.code)
        for place in Cotangents._fields
        for m in MISCONCEPTIONS[place]
        if jax.eval_shape(_line(m.code, SIZES.B), arrays).shape == arrays[place].shape
    )


def line_program(sizes: Sizes, mistake: Planted, dtype: str = "float64") -> Program:
    """Return the wrong line as a program of what it reads; its output is the cotangent."""
    with jax.enable_x64(dtype == "float64"):
        arrays = _arrays(sizes, dtype)
        names = {
            node.id for node in ast.walk(ast.parse(mistake.wrong)) if isinstance(node, ast.Name)
        }
        reads = sorted(names & arrays.keys())
        line = _line(mistake.wrong, sizes.B)
        given = {name: arrays[name] for name in reads}
        return export(line, [given], reads, [f"d{mistake.place}"])


def _line(code: str, n: int) -> Callable[[dict[str, Any]], jax.Array]:
    """A line as a function of the arrays that it reads, for a batch of n."""

    def value(arrays: dict[str, Any]) -> jax.Array:
        # A line that only hands on what it reads makes an array of its own, too.
        return jnp.copy(eval(code, {"jax": jax, "jnp": jnp, "n": n}, arrays))

    return value


def _arrays(sizes: Sizes, dtype: str) -> dict[str, Any]:
    """The shapes of all that a line may read, by the names of the exercise."""
    args = shapes(sizes, dtype)
    params, X, Y = args
    variables = params._asdict() | jax.eval_shape(forward, *args)._asdict()
    cotangents = {f"d{name}": variables[name] for name in Cotangents._fields}
    return {**variables, **cotangents, "X": X, "Y": Y}
