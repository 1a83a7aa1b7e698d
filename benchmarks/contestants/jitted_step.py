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
from jaxmore.models import MODELS
from jaxmore.training.loop import COMPILER_OPTIONS


def prepare(task: Task) -> Callable[[], np.ndarray]:
    model = MODELS[task.type].make(task.vocab_size, **task.options)
    optimizer = optimizer_of(task)

    @partial(jax.jit, donate_argnums=0, compiler_options=COMPILER_OPTIONS)
    def step(state: Any, x: jax.Array, y: jax.Array) -> Any:
        params, opt_state = state
        loss, grads = loss_and_grad(model, params, x, y)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    params = jax.tree.map(jnp.array, task.params)
    state = (params, optimizer.init(params))

    def run() -> np.ndarray:
        nonlocal state
        losses: list[jax.Array] = []
        for x, y in zip(task.X[task.indices], task.Y[task.indices], strict=True):
            state, loss = step(state, x, y)
            losses.append(loss)
        return np.array(losses)

    return run
