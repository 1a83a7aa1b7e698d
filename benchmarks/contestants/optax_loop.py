"""JAX as its users write it, without jaxmore: jax.grad, optax, a Python loop of jitted steps.

No flax: its modules and state trees would add to each step's dispatch, and nothing to its
arithmetic, so plain functions are the faster form of this peer.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.task import Task

OPTIMIZER = optax.sgd(0.1)


def loss_of(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    emb = params["embedding"]["weight"][x]
    hidden = emb.reshape(len(x), -1) @ params["hidden"]["weight"] + params["hidden"]["bias"]
    mean, var = hidden.mean(0), hidden.var(0, ddof=1)
    norm = (hidden - mean) * jax.lax.rsqrt(var + 1e-5)
    h = jnp.tanh(params["norm"]["gain"] * norm + params["norm"]["bias"])
    logits = h @ params["head"]["weight"] + params["head"]["bias"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


@partial(jax.jit, donate_argnums=(0, 1))
def step(params: Any, opt_state: Any, x: jax.Array, y: jax.Array) -> Any:
    loss, grads = jax.value_and_grad(loss_of)(params, x, y)
    updates, opt_state = OPTIMIZER.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, loss


def prepare(task: Task) -> Callable[[], np.ndarray]:
    params = jax.tree.map(jnp.array, task.params)
    opt_state = OPTIMIZER.init(params)

    def run() -> np.ndarray:
        nonlocal params, opt_state
        losses: list[jax.Array] = []
        for x, y in zip(task.X[task.indices], task.Y[task.indices], strict=True):
            params, opt_state, loss = step(params, opt_state, x, y)
            losses.append(loss)
        return np.array(jax.device_get(losses))

    return run
