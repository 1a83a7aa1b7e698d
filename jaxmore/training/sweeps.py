"""Sweeps: runs that differ in their data alone, at once by ``vmap``, and spread over devices."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import takewhile
from queue import SimpleQueue
from threading import Event
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from jaxmore.compiler import CpuJit
from jaxmore.layers import Layer, Tree
from jaxmore.training.loop import COMPILER_OPTIONS, TrainState, scan_steps

Item = TypeVar("Item")
Found = TypeVar("Found")


def spread(function: Callable[[Item], Iterator[Found]], items: Iterable[Item]) -> Iterator[Found]:
    """Compute a result for each item, on all devices of this process at once.

    Args:
        function: yields what it has so far, at last the result; it runs in a thread of its own,
            where the device that is free is JAX's default.
        items: one for each result.

    Yields:
        The results, in the order of the items. After an error, and if not all are asked for, the
        functions that run end when they next yield.
    """
    devices, free, stopped = jax.local_devices(), SimpleQueue[jax.Device](), Event()
    for device in devices:
        free.put(device)

    errors: list[BaseException] = []

    def compute(item: Item) -> Any:
        device = free.get()
        try:
            with jax.default_device(device):
                results = takewhile(lambda _: not stopped.is_set(), function(item))
                return next(iter(deque(results, maxlen=1)), None)
        except BaseException as error:
            errors.append(error)
            stopped.set()
        finally:
            free.put(device)

    with ThreadPoolExecutor(len(devices)) as pool:
        try:
            for result in pool.map(compute, items):
                if errors:
                    raise errors[0]
                yield result
        finally:
            stopped.set()


def tunable_optimizers(
    make: Callable[[Any, Any], optax.GradientTransformation],
    settings: Sequence[tuple[float, float]],
) -> list[optax.GradientTransformation]:
    """Make an optimiser for each pair of learning rate and weight decay, which its state holds.

    Any of them can therefore step the state of every other.

    Args:
        make: makes one of ``learning_rate`` and ``weight_decay``.
        settings: the pairs.
    """
    # A decay that all runs share stays static: gradient descent without decay needs no term.
    shared = len({decay for _, decay in settings}) == 1
    tunable = optax.inject_hyperparams(make, static_args=("weight_decay",) if shared else ())
    return [tunable(rate, decay) for rate, decay in settings]


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
) -> Iterator[list[tuple[Tree, list[float]]]]:
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
        After each chunk an empty list, and at the end for each run its parameters and the mean loss
        of each chunk.
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
        yield []
    yield [
        (jax.tree.map(lambda a, i=i: a[i], stacked.params), curve.tolist())
        for i, curve in enumerate(np.stack(curves, 1))
    ]


@partial(
    CpuJit,
    cpu_options=COMPILER_OPTIONS,
    static_argnames=("model", "optimizer", "batch_size", "n_steps"),
    donate_argnames="states",
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
