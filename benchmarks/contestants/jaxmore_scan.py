"""jaxmore: its public training loop, batches drawn, gathered and trained on in one jitted scan."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.task import Task
from jaxmore.backprop import loss_and_grad
from jaxmore.models import MODELS
from jaxmore.training.loop import TrainState, train_chunk
from jaxmore.training.optimizers import make_optimizer
from jaxmore.training.precision import loss_and_bfloat16_grad

GRADIENTS = {"float32": loss_and_grad, "bfloat16": loss_and_bfloat16_grad}


def optimizer_of(task: Task) -> optax.GradientTransformation:
    """The seeds' SGD, or makemore.py's AdamW, with the schedule of ``jaxmore train``."""
    decay = 0.01 if task.optimizer == "adamw" else 0.0
    return make_optimizer(task.optimizer, task.learning_rate, decay, "step", max_steps=200_000)


def loss_and_grad_of(task: Task) -> Callable[..., Any]:
    return partial(GRADIENTS[task.dtype], MODELS[task.type].make(task.vocab_size, **task.options))


def prepare(task: Task) -> Callable[[], np.ndarray]:
    model = MODELS[task.type].make(task.vocab_size, **task.options)
    optimizer = optimizer_of(task)
    params = jax.tree.map(jnp.array, task.params)
    state = TrainState(params, optimizer.init(params))
    X, Y, key = jnp.array(task.X), jnp.array(task.Y), jax.random.key(task.seed)

    def run() -> np.ndarray:
        nonlocal state
        state, losses, *_ = train_chunk(
            model,
            optimizer,
            state,
            X,
            Y,
            key,
            jnp.asarray(0),
            batch_size=task.batch_size,
            n_steps=task.n_steps,
            gradient=GRADIENTS[task.dtype],
        )
        return np.asarray(losses)

    return run
