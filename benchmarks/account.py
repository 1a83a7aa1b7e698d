"""The cost of a gradient, as reported by the compiler."""

from collections.abc import Iterator
from importlib import import_module
from math import prod
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr

from benchmarks.task import Task

COMPILED = ("jaxmore_scan", "grad_scan", "grad_plain_scan")
"""The contestants whose gradient is one program of XLA's."""


class Account(NamedTuple):
    """XLA's ``cost_analysis`` and ``memory_analysis`` of one compiled gradient."""

    flops: float
    """XLA counts the body of a loop once."""
    temporary_bytes: int
    product_flops: int
    """Of the matrix products alone, those of a loop's body as often as it runs."""


def gradient_account(module: str, task: Task) -> Account | None:
    """Account for a contestant's gradient of one batch; None if XLA does not compile it."""
    if module not in COMPILED:
        return None
    loss_and_grad = import_module(f"benchmarks.contestants.{module}").loss_and_grad_of(task)
    x, y = task.X[task.indices[0]], task.Y[task.indices[0]]
    compiled = jax.jit(loss_and_grad).lower(task.params, x, y).compile()
    return Account(
        compiled.cost_analysis()["flops"],
        compiled.memory_analysis().temp_size_in_bytes,
        product_flops(jax.make_jaxpr(loss_and_grad)(task.params, x, y).jaxpr),
    )


def product_flops(program: Jaxpr) -> int:
    """Return the FLOPs of a program's matrix products; a multiply-add counts as two."""
    total = 0
    for equation in program.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            terms = prod(equation.invars[0].aval.shape[axis] for axis in contracted)
            total += 2 * terms * prod(equation.outvars[0].aval.shape)
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        total += times * sum(map(product_flops, _inside(equation.params)))
    return total


def _inside(params: dict[str, Any]) -> Iterator[Jaxpr]:
    for value in params.values():
        if isinstance(value, ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, Jaxpr):
            yield value
