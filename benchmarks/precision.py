"""``python -m benchmarks.precision``: the time and memory of ``--dtype bfloat16``."""

import time
from functools import partial
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.data import corpus
from benchmarks.ladder import Case, task_of
from benchmarks.task import Task, make_task
from jaxmore.backprop import loss_and_grad
from jaxmore.models import MODELS
from jaxmore.training.loop import COMPILER_OPTIONS
from jaxmore.training.precision import loss_and_bfloat16_grad

CASES = [("mlp-bn", 32), ("mlp-bn", 2048), ("gru", 32), ("transformer", 32)]
STEPS, ROUNDS = 20, 15


def task_at(type: str, batch_size: int) -> Task:
    """Return the task of a type, at makemore.py's defaults or the notebooks'."""
    if type != "mlp-bn":
        return task_of(Case(type, type, batch_size, 1, {}))
    X, Y = corpus().windows(3)
    return make_task(type, {}, corpus().vocab.size, X, Y, batch_size=batch_size, n_steps=1)


def compare(type: str, batch_size: int) -> str:
    """Return a row: the ratio of times, bfloat16 to float32, and the bytes of both gradients."""
    task = task_at(type, batch_size)
    model = MODELS[type].make(task.vocab_size, **task.options)
    params = jax.tree.map(jnp.array, task.params)
    x, y = jnp.array(task.X[:batch_size]), jnp.array(task.Y[:batch_size])
    scans: list[Any] = []
    n_bytes: list[str] = []
    for gradient in (loss_and_grad, loss_and_bfloat16_grad):

        def step(params: Any, _: None, gradient: Any = gradient) -> tuple[Any, Any]:
            loss, grads = gradient(model, params, x, y)
            return jax.tree.map(lambda p, g: p - 0.01 * g, params, grads), loss

        scan = partial(jax.lax.scan, step, length=STEPS)
        scans.append(jax.jit(lambda p, scan=scan: scan(p, None), compiler_options=COMPILER_OPTIONS))
        compiled = jax.jit(partial(gradient, model), compiler_options=COMPILER_OPTIONS)
        memory = compiled.lower(params, x, y).compile().memory_analysis()
        n_bytes.append(f"{memory.temp_size_in_bytes / 1e6:.2f}")
        jax.block_until_ready(scans[-1](params))
    ratios: list[float] = []
    for _ in range(ROUNDS):
        seconds: list[float] = []
        for scan in scans:
            start = time.perf_counter()
            jax.block_until_ready(scan(params))
            seconds.append(time.perf_counter() - start)
        ratios.append(seconds[1] / seconds[0])
    return f"| {type} | {batch_size:,} | ×{median(ratios):.2f} | {' | '.join(n_bytes)} |"


def main() -> None:
    print(f"jax {jax.__version__}")
    for type, batch_size in CASES:
        print(compare(type, batch_size), flush=True)


if __name__ == "__main__":
    main()
