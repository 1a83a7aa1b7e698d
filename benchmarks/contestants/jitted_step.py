"""A Python loop of one jitted step: jaxmore's gradient, the batch drawn inside, state donated.

Nothing waits for a step: the losses are fetched at the end of the chunk.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.contestants.jaxmore_scan import optimizer_of
from benchmarks.task import Task
from jaxmore.backprop import loss_and_grad
from jaxmore.compiler import CpuJit
from jaxmore.models import MODELS
from jaxmore.training.loop import COMPILER_OPTIONS


def prepare(task: Task) -> Callable[[], np.ndarray]:
    model = MODELS[task.type].make(task.vocab_size, **task.options)
    optimizer = optimizer_of(task)

    @partial(CpuJit, cpu_options=COMPILER_OPTIONS, donate_argnums=0)
    def step(state: Any, X: jax.Array, Y: jax.Array, indices: jax.Array) -> Any:
        params, opt_state, i = state
        x, y = X[indices[i]], Y[indices[i]]
        loss, grads = loss_and_grad(model, params, x, y)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state, i + 1), loss

    params = jax.tree.map(jnp.array, task.params)
    state = params, optimizer.init(params)
    data = tuple(map(jnp.array, (task.X, task.Y, task.indices)))

    def run() -> np.ndarray:
        nonlocal state
        losses: list[jax.Array] = []
        steps = *state, jnp.array(0)
        for _ in range(task.n_steps):
            steps, loss = step(steps, *data)
            losses.append(loss)
        state = steps[:2]
        return np.array(jax.device_get(losses))

    return run
