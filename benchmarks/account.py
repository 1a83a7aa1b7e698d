"""What a gradient costs by the compiler's own account."""

from importlib import import_module
from typing import NamedTuple

import jax

from benchmarks.task import Task

COMPILED = ("jaxmore_scan", "grad_scan", "grad_plain_scan")
"""The contestants whose gradient is one program of XLA's."""


class Account(NamedTuple):
    """Of one compiled gradient: XLA's ``cost_analysis`` and ``memory_analysis``."""

    flops: float
    temporary_bytes: int


def gradient_account(module: str, task: Task) -> Account | None:
    """Of a contestant's gradient of one batch; None for those that XLA does not compile."""
    if module not in COMPILED:
        return None
    loss_and_grad = import_module(f"benchmarks.contestants.{module}").loss_and_grad_of(task)
    x, y = task.X[task.indices[0]], task.Y[task.indices[0]]
    compiled = jax.jit(loss_and_grad).lower(task.params, x, y).compile()
    return Account(compiled.cost_analysis()["flops"], compiled.memory_analysis().temp_size_in_bytes)
