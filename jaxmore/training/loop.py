"""The training loop: a jitted scan over a chunk of steps, and a generator of chunks."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, UInt32

from jaxmore.backprop import loss_and_grad
from jaxmore.compiler import UNOPTIMIZED, CpuJit
from jaxmore.layers import Layer, Tree, by_path

Gradient = Callable[[Layer, Tree, Array, Array], tuple[Array, Tree]]
"""It maps (model, params, x, y) to (loss, gradient), as :func:`~jaxmore.backprop.loss_and_grad`
does without a key. It must be hashable, because ``jit`` takes it as a static argument."""


class TrainState(NamedTuple):
    """The parameters and the optimiser's state: everything that a step updates."""

    params: Tree
    opt_state: optax.OptState


@partial(CpuJit, cpu_options=UNOPTIMIZED, static_argnames="model")
def fresh_params(model: Layer, key: Array) -> Tree:
    """Compute ``model.init(key)`` in one compiled program, a second faster than op by op.

    The values equal ``model.init(key)`` up to the last bits.
    """
    return model.init(key)


@jax.jit
def copy_state(state: Any) -> Any:
    """Copy a state or a part of it: the next chunk consumes the original (it is donated)."""
    return jax.tree.map(jnp.copy, state)


class Chunk(NamedTuple):
    """The result of a chunk of steps."""

    step: int
    """The number of steps done so far."""
    state: TrainState
    """The state after the chunk. The next chunk consumes its buffers (they are donated)."""
    losses: Float[np.ndarray, " S"]
    """The loss of every step of the chunk, before its update."""
    update_to_data: dict[str, float]
    """log10 of std(update) / std(parameter) at the last step, by parameter path: about −3 where
    the learning rate suits (zero-to-hero, lecture 4)."""
    batch_hash: int
    """A hash of the numbers of the examples in the chunk's batches (:func:`batch_hashes`)."""


def batch_indices(
    key: Array, steps: Int[Array, " S"], batch_size: int, n_examples: int
) -> Int[Array, "S B"]:
    """Draw the examples of each step.

    They depend on the key and the step's number alone, so batches are the same for every chunk
    size, and for a run that was stopped and resumed.
    """

    def draw(step: Int[Array, ""]) -> Int[Array, " B"]:
        return jax.random.randint(jax.random.fold_in(key, step), (batch_size,), 0, n_examples)

    return jax.vmap(draw)(steps)


def batch_hashes(indices: Int[Array, "S B"], steps: Int[Array, " S"]) -> UInt32[Array, " B"]:
    """Hash which examples each row of the batch held, over all steps.

    Added up modulo 2**32, the hashes of rows give that of a chunk, and those of chunks that of a
    run: it depends neither on the size of chunks nor on which device has which rows.
    """
    place = steps[:, None].astype(jnp.uint32) * jnp.uint32(0x9E3779B1)
    place += jnp.arange(indices.shape[1], dtype=jnp.uint32) * jnp.uint32(0x85EBCA77)
    hashes = indices.astype(jnp.uint32) + place
    # The finaliser of MurmurHash3, in which each bit of the result depends on all of them.
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        hashes = (hashes ^ (hashes >> shift)) * jnp.uint32(factor)
    return hashes.sum(0, dtype=jnp.uint32)


def scan_steps(
    model: Layer,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    X: Int[Array, "... T"],
    Y: Int[Array, "..."],
    key: Array | None,
    first_step: Int[Array, ""],
    *,
    batch_size: int,
    n_steps: int,
    gradient: Gradient = loss_and_grad,
    gather: Callable[[Any], Any] = lambda trees: trees,
) -> tuple[TrainState, Float[Array, " S"], dict[str, Float[Array, ""]], UInt32[Array, " B"]]:
    """Run ``n_steps`` training steps in one scan: forward, backward, optimiser update.

    :func:`train` calls it compiled, once per chunk. To write a loop of your own, jit it with
    ``static_argnames=("model", "optimizer", "batch_size", "n_steps", "gradient")``.

    Args:
        model: static; ids to logits.
        optimizer: static; the same object for every chunk.
        state: parameters and optimiser state.
        X: all training inputs (n, T), on the device.
        Y: all training targets, (n,) or (n, T).
        key: of the batches; None where X (S, B, T) and Y are the batches themselves.
        first_step: the number of the chunk's first step.
        batch_size: B, examples per step.
        n_steps: S, steps in the scan.
        gradient: static; computes the loss and the gradient of a batch.
        gather: makes trees of parameters whole where a device holds a shard of them.

    Returns:
        The new state, the loss of each step (S,), for each parameter path the log10 of
        std(update) / std(parameter) at the last step, and the hash of each row of the batches;
        zeros if there is no key.
    """
    steps = first_step + jnp.arange(n_steps)
    if key is None:
        batches, hashes = (X, Y), jnp.zeros(batch_size, jnp.uint32)
    else:
        indices = batch_indices(key, steps, batch_size, len(X))
        batches, hashes = (X[indices], Y[indices]), batch_hashes(indices, steps)

    def step(carry: tuple[TrainState, Tree], inputs: tuple[Array, Array, Array]) -> Any:
        (params, opt_state), last_updates = carry
        *batch, is_last = inputs
        loss, grads = gradient(model, params, *batch)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        # The ratios of the last updates are computed after the scan: in each step they would take
        # time. Without the choice XLA carries the updates in the layout of the products that
        # compute them, and writing those transposed takes an eighth of a step with jax 0.12.
        last_updates = jax.tree.map(partial(jnp.where, is_last), updates, last_updates)
        params = cast(Tree, optax.apply_updates(params, updates))
        return (TrainState(params, opt_state), last_updates), loss

    first = (state, jax.tree.map(jnp.zeros_like, state.params))
    is_last = jnp.arange(n_steps) == n_steps - 1
    (state, updates), losses = jax.lax.scan(step, first, (*batches, is_last))
    return state, losses, _log_ratios(*gather((updates, state.params))), hashes


COMPILER_OPTIONS = {"xla_cpu_prefer_vector_width": 512} | (
    {"xla_backend_optimization_level": 1} if jax.__version_info__ >= (0, 11) else {}
)
"""Compiler options for a training step on a CPU.

By default XLA emits 256-bit vectors even where the CPU has 512-bit ones. From jax 0.11 on, a step
is as fast at optimisation level 1 as at the default 3, and takes 30 to 44 % less processor time to
compile. With jax 0.9 the sums over a batch are slower at level 1: a step of deep-mlp-bn takes 1.1
times as long, and one of bow 1.3 times.
"""

_STATIC = ("model", "optimizer", "batch_size", "n_steps", "gradient")
train_chunk = CpuJit(scan_steps, COMPILER_OPTIONS, static_argnames=_STATIC, donate_argnames="state")
# jax_debug_nans calls a function again when it returns a NaN, so nothing may be donated.
_undonated_chunk = jax.jit(scan_steps, static_argnames=_STATIC)
RunChunk = Callable[..., tuple[TrainState, Array, dict[str, Array], Array]]
"""A compiled :func:`scan_steps`."""


def _make_whole(make: Callable[[slice], Any]) -> Any:
    return jax.tree.map(jnp.array, make(slice(None)))


class Devices(NamedTuple):
    """Where the steps of a run are computed. The defaults are one device.

    For several see :func:`jaxmore.training.mesh.choose_devices`.
    """

    run_chunk: RunChunk = train_chunk
    place: Callable[[Any], Any] = partial(jax.tree.map, jnp.array)
    """Copies arrays and keys to where the steps are computed."""
    place_batches: Callable[[Callable[[slice], Any]], Any] = _make_whole
    """Makes batches (S, B, ...) where the steps are computed. It calls a function with the slice of
    the rows that this process needs."""
    begin: Callable[[Any], Any] = copy_state
    """Copies a state or its parameters to where the steps are computed."""
    snapshot: Callable[[TrainState], TrainState] = copy_state
    """Copies a state where it lies. The copy is what a checkpoint holds, and can begin again."""
    add_shardings: Callable[[TrainState], TrainState] = lambda shapes: shapes
    """Adds the shardings of a snapshot to the shapes of a state."""
    fetch: Callable[[Tree], Tree] = copy_state
    """Copies parameters from there to one device."""
    gradient: Gradient = loss_and_grad
    """How the steps compute their gradient."""
    note: str = ""
    """What a user should know about them."""


@partial(jax.jit, static_argnames=("model", "batch_size", "gradient"))
def gradient_to_data(
    model: Layer,
    params: Tree,
    X: Int[Array, "... T"],
    Y: Int[Array, "..."],
    key: Array | None,
    step: Int[Array, ""],
    *,
    batch_size: int,
    gradient: Gradient = loss_and_grad,
) -> dict[str, Float[Array, ""]]:
    """Compute log10 of std(gradient) / std(parameter) for the batch of a step, by parameter path.

    It is a separate program, so that computing the ratios does not change the bits of the chunks.

    Args:
        model: static; ids to logits.
        params: the parameters before the step.
        X: all training inputs, on the device.
        Y: all training targets.
        key: of the batches; None where X (1, B, T) and Y are the batch itself.
        step: the number of the step.
        batch_size: B.
        gradient: static; computes the loss and the gradient of a batch.

    Returns:
        The log10 of the ratio, by parameter path: infinity where the computed std of the parameter
        is 0, otherwise −infinity where that of the gradient is 0.
    """
    at = 0 if key is None else batch_indices(key, step[None], batch_size, len(X))[0]
    _, grads = gradient(model, params, X[at], Y[at])
    return _log_ratios(grads, params)


def _log_ratios(changes: Tree, params: Tree) -> dict[str, Float[Array, ""]]:
    data = by_path(params)
    return {
        path: _log_ratio(change.std(), data[path].std())
        for path, change in by_path(changes).items()
    }


def _log_ratio(change: Float[Array, ""], data: Float[Array, ""]) -> Float[Array, ""]:
    # A parameter whose std is 0 has no scale: return infinity rather than 0/0, so that a NaN
    # here always means a NaN in the parameters.
    return jnp.where(data == 0, jnp.inf, jnp.log10(change / jnp.where(data == 0, 1, data)))


def train(
    model: Layer,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    X: Int[Array, "... T"],
    Y: Int[Array, "..."],
    key: Array | None,
    *,
    batch_size: int,
    max_steps: int,
    chunk_size: int,
    first_step: int = 0,
    pauses: Sequence[int] = (),
    run_chunk: RunChunk = train_chunk,
) -> Iterator[Chunk]:
    """Train up to step ``max_steps``, one :class:`Chunk` at a time.

    Args:
        model: ids to logits.
        optimizer: any of optax's.
        state: the state to start from; its buffers are consumed.
        X: all training inputs.
        Y: all training targets.
        key: of the batches; None as in :func:`scan_steps`, where one chunk does all the steps.
        batch_size: B.
        max_steps: the number of the last step.
        chunk_size: steps per jitted call; it does not change the result.
        first_step: how many steps ``state`` has already done.
        pauses: chunks also end at every multiple of each of these.
        run_chunk: a compiled :func:`scan_steps`.

    Yields:
        A chunk every ``chunk_size`` steps, or fewer where a pause or the last step comes first.
    """
    if run_chunk is train_chunk and cast(Any, jax.config).jax_debug_nans:
        run_chunk = _undonated_chunk
    for start, n_steps in chunk_spans(first_step, max_steps, chunk_size, pauses):
        state, losses, ratios, hashes = run_chunk(
            model,
            optimizer,
            state,
            X,
            Y,
            key,
            jnp.asarray(start),
            batch_size=batch_size,
            n_steps=n_steps,
        )
        yield Chunk(
            step=start + n_steps,
            state=state,
            losses=np.asarray(losses),
            update_to_data={path: float(ratio) for path, ratio in ratios.items()},
            batch_hash=int(hashes.sum(dtype=jnp.uint32)),
        )


def chunk_spans(
    first_step: int, max_steps: int, chunk_size: int, pauses: Sequence[int]
) -> Iterator[tuple[int, int]]:
    """Yield the first step of each chunk that :func:`train` runs, and the number of its steps."""
    start = first_step
    while start < max_steps:
        ends = start + chunk_size, max_steps, *((start // n + 1) * n for n in pauses)
        yield start, min(ends) - start
        start = min(ends)
