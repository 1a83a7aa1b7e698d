"""jax.grad in jaxmore's place: the same forward, batches and optimiser in the same scan.

The same but for tanh: jaxmore's own has no derivative but the hand-derived one, and autodiff would
go through its polynomials. JAX's tanh and its derivative are the faster form of this peer.
It is compiled as jaxmore is, except where that makes it slower.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.contestants.jaxmore_scan import optimizer_of
from benchmarks.task import Task
from jaxmore import rules
from jaxmore.compiler import CpuJit
from jaxmore.models import MODELS
from jaxmore.rules import _activations, _gru, _lstm, _rnn
from jaxmore.training.loop import COMPILER_OPTIONS, batch_indices

LossAndGrad = Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, Any]]

OWN_OPTIONS = {"deep-mlp-bn": {"xla_backend_optimization_level": 3}}
"""At level 1, which jaxmore uses from jax 0.11 on, jax.grad's step of this model takes 1.17 times
as long."""


def prepare(task: Task) -> Callable[[], np.ndarray]:
    return train_by(task, loss_and_grad_of(task))


def loss_and_grad_of(task: Task) -> LossAndGrad:
    model = MODELS[task.type].make(task.vocab_size, **task.options)

    def loss_of(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        params = jax.tree.map(lambda p: p.astype(task.dtype), params)
        with jax_tanh():  # while it is traced
            return rules.softmax_cross_entropy(model.fwd(params, x)[0], y)

    return jax.value_and_grad(loss_of)


@contextmanager
def jax_tanh() -> Iterator[None]:
    """The models of jaxmore with JAX's tanh."""
    with ExitStack() as stack:
        for module in (_activations, _gru, _lstm, _rnn):
            stack.enter_context(patch.object(module, "accurate_tanh", jnp.tanh))
        yield


def train_by(task: Task, loss_and_grad: LossAndGrad) -> Callable[[], np.ndarray]:
    optimizer = optimizer_of(task)
    options = COMPILER_OPTIONS | OWN_OPTIONS.get(task.type, {})

    @partial(CpuJit, cpu_options=options, donate_argnums=0)
    def chunk(state: Any, X: jax.Array, Y: jax.Array, key: jax.Array) -> Any:
        def step(state: Any, batch: Any) -> Any:
            params, opt_state = state
            loss, grads = loss_and_grad(params, *batch)
            updates, opt_state = optimizer.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), loss

        indices = batch_indices(key, jnp.arange(task.n_steps), task.batch_size, len(X))
        return jax.lax.scan(step, state, (X[indices], Y[indices]))

    params = jax.tree.map(jnp.array, task.params)
    state = (params, optimizer.init(params))
    X, Y, key = jnp.array(task.X), jnp.array(task.Y), jax.random.key(task.seed)

    def run() -> np.ndarray:
        nonlocal state
        state, losses = chunk(state, X, Y, key)
        return np.asarray(losses)

    return run
