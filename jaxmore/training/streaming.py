"""Training on a pack: its batches are made on the host, beside the steps."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int

from jaxmore.data import PackedExamples
from jaxmore.layers import Layer
from jaxmore.training.loop import (
    Chunk,
    Devices,
    TrainState,
    batch_hashes,
    batch_indices,
    chunk_spans,
    train,
)

AHEAD = 2
"""How many chunks of batches are made before they are needed."""
_batch_indices = jax.jit(batch_indices, static_argnums=(2, 3))
_batch_hashes = jax.jit(batch_hashes)


def draw_indices(
    key: Array, start: int, n_steps: int, batch_size: int, n_examples: int
) -> Int[Array, "S B"]:
    """Draw the examples of some steps as :func:`~jaxmore.training.loop.train` draws them.

    From 2³¹ examples on the numbers have 64 bits.
    """
    with jax.enable_x64(True) if n_examples >= 2**31 else nullcontext():
        return _batch_indices(key, start + jnp.arange(n_steps), batch_size, n_examples)


def batches(
    examples: PackedExamples, indices: Int[np.ndarray, "S B"]
) -> tuple[Int[np.ndarray, "S B T"], Int[np.ndarray, "S B ..."]]:
    """Return the batches of some steps."""
    X, Y = examples[indices.reshape(-1)]
    return X.reshape(*indices.shape, -1), Y.reshape(*indices.shape, *Y.shape[1:])


def train_streamed(
    model: Layer,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    examples: PackedExamples,
    key: Array,
    *,
    batch_size: int,
    max_steps: int,
    chunk_size: int,
    devices: Devices,
    first_step: int = 0,
    pauses: Sequence[int] = (),
) -> Iterator[Chunk]:
    """Train as :func:`~jaxmore.training.loop.train` does, with the same bits.

    The batches of a step depend on the key and its number alone, so nothing of the stream needs to
    be saved. A thread makes those of the next chunks and copies them to the device while the
    chunk before runs.
    """
    spans = chunk_spans(first_step, max_steps, chunk_size, pauses)

    def make(indices: Int[Array, "S B"]) -> Any:
        numbers = np.asarray(indices)  # sliced by JAX, it would wait for the device
        return devices.place_batches(lambda rows: batches(examples, numbers[:, rows]))

    with ThreadPoolExecutor(1) as thread:

        def begin(span: tuple[int, int]) -> tuple[int, int, Array, Future[Any]]:
            # The device draws the numbers before the chunk that it gets next, not after it.
            indices = draw_indices(key, *span, batch_size, len(examples))
            hashes = _batch_hashes(indices, span[0] + jnp.arange(span[1]))
            return *span, hashes, thread.submit(make, indices)

        ahead = deque(map(begin, islice(spans, AHEAD)))
        while ahead:
            start, n_steps, hashes, made = ahead.popleft()
            X, Y = made.result()
            ahead.extend(map(begin, islice(spans, 1)))
            (chunk,) = train(
                model,
                optimizer,
                state,
                X,
                Y,
                None,
                batch_size=batch_size,
                max_steps=start + n_steps,
                chunk_size=n_steps,
                first_step=start,
                run_chunk=devices.run_chunk,
            )
            state = chunk.state
            yield chunk._replace(batch_hash=int(hashes.sum(dtype=jnp.uint32)))
