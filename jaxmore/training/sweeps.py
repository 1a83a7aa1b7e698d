"""Sweeps: several runs that differ in their data alone, trained at once by ``vmap``."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from jaxmore.layers import Layer, Tree
from jaxmore.training.loop import COMPILER_OPTIONS, TrainState, scan_steps


def train_together(
    model: Layer,
    optimizer: optax.GradientTransformation,
    states: Sequence[TrainState],
    X: Int[Array, "n T"],
    Y: Int[Array, "n ..."],
    keys: Array,
    *,
    batch_size: int,
    max_steps: int,
    chunk_size: int,
) -> Iterator[tuple[Tree, list[float]]]:
    """Train K runs at once over the same examples.

    Args:
        model: ids to logits.
        optimizer: the optimiser of every run. What differs between the runs is in its state
            (``optax.inject_hyperparams``).
        states: K states to start from.
        X: all training inputs.
        Y: all training targets.
        keys: (K,) the keys of the batches.
        batch_size: B, examples per step of each run.
        max_steps: the number of the last step.
        chunk_size: steps per jitted call; it does not change the result.

    Yields:
        For each run its parameters and the mean loss of each chunk.
    """
    stacked: TrainState = jax.tree.map(lambda *a: jnp.stack(a), *states)
    curves: list[Any] = []
    for start in range(0, max_steps, chunk_size):
        n_steps = min(chunk_size, max_steps - start)
        stacked, losses = _train_chunks(
            model,
            optimizer,
            stacked,
            X,
            Y,
            keys,
            jnp.asarray(start),
            batch_size=batch_size,
            n_steps=n_steps,
        )
        curves.append(np.asarray(losses).mean(1))
    for i, curve in enumerate(np.stack(curves, 1)):
        yield jax.tree.map(lambda a, i=i: a[i], stacked.params), curve.tolist()


@partial(
    jax.jit,
    static_argnames=("model", "optimizer", "batch_size", "n_steps"),
    donate_argnames="states",
    compiler_options=COMPILER_OPTIONS,
)
def _train_chunks(
    model: Layer,
    optimizer: optax.GradientTransformation,
    states: TrainState,
    X: Int[Array, "n T"],
    Y: Int[Array, "n ..."],
    keys: Array,
    first_step: Int[Array, ""],
    *,
    batch_size: int,
    n_steps: int,
) -> tuple[TrainState, Float[Array, "K S"]]:
    """Run ``scan_steps`` for K runs at once; the ratios of updates are dropped."""

    def one(state: TrainState, key: Array) -> tuple[TrainState, Array]:
        return scan_steps(
            model, optimizer, state, X, Y, key, first_step, batch_size=batch_size, n_steps=n_steps
        )[:2]

    return jax.vmap(one)(states, keys)
