"""Estimates of the memory that a computation needs, made before any of it is allocated."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import psutil
from jaxtyping import Int

from jaxmore.errors import InputError
from jaxmore.layers import Layer
from jaxmore.training.evaluation import distinct_rows


def check_memory(
    model: Layer,
    optimizer: optax.GradientTransformation,
    n_examples: int,
    block_size: int,
    batch_size: int,
    n_runs: int = 1,
    n_steps: int = 1,
    packable: bool = False,
) -> None:
    """Refuse a run, or several at once, that cannot fit in memory. Nothing is allocated.

    If the examples are ``packable``, those of a file that may be packed, the message says so.

    Raises:
        InputError: a lower bound of what it needs exceeds the memory of the machine.
    """
    params = jax.eval_shape(model.init, jax.random.key(0))
    state = size_of(params) + size_of(jax.eval_shape(optimizer.init, params))
    ids = jax.ShapeDtypeStruct((batch_size, block_size), jnp.int32)
    activations = size_of(jax.eval_shape(lambda p, x: model.fwd(p, x), params, ids))
    # The state and its copy, the gradients and the updates; the residuals; a chunk's batches, at
    # least a byte per id, with the numbers of their examples and the losses; and all examples, on
    # the host and on the device.
    chunk = n_steps * (batch_size * (block_size + 5) + 4)
    of_a_run = 2 * state + 2 * size_of(params) + activations + chunk
    needed = n_runs * of_a_run + 2 * n_examples * (block_size + 1)
    who = "the run needs" if n_runs == 1 else f"{n_runs:,} runs at once need"
    _refuse_beyond(needed, who, ", or a pack of it" if packable else "")


def check_calibration(model: Layer, X: Int[np.ndarray, "n T"]) -> None:
    """Refuse data with too many distinct contexts: calibration runs all of them at once.

    Raises:
        InputError: the largest of its arrays alone exceeds the memory of the machine.
    """
    params = jax.eval_shape(model.init, jax.random.key(0))
    if jax.tree.leaves(jax.eval_shape(model.calibrate, params, X)[1]):
        res = jax.eval_shape(model.fwd, params, distinct_rows(X)[0])[1]
        _refuse_beyond(max(map(size_of, jax.tree.leaves(res))))


def _refuse_beyond(needed: int, who: str = "the run needs", hint: str = "") -> None:
    there = available_memory()
    if needed > there:
        raise InputError(
            f"{who} at least {_gigabytes(needed)} of memory, but there are {_gigabytes(there)}: "
            f"choose a smaller model, --block-size, --batch-size, --chunk-size or file{hint}"
        )


def size_of(tree: Any) -> int:
    """Return the bytes of a tree of arrays or of their shapes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def available_memory() -> int:
    """Return the bytes of the device's memory, or of the machine's where the device is a CPU."""
    device = jax.local_devices()[0]
    if device.platform != "cpu" and (stats := device.memory_stats()):
        return int(stats["bytes_limit"])
    return int(psutil.virtual_memory().total)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"
