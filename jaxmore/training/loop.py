"""The training loop: one jitted scan over a chunk of steps, and the chunks one after another."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from jaxmore.backprop import loss_and_grad
from jaxmore.layers import Layer, Tree, by_path


class State(NamedTuple):
    """Everything that a step changes."""

    params: Tree
    opt_state: optax.OptState


@partial(
    jax.jit,
    static_argnames="model",
    compiler_options={"xla_backend_optimization_level": 0},  # it runs once
)
def fresh_params(model: Layer, key: Array) -> Tree:
    """``model.init(key)``, up to the last bits: in one program it is there a second earlier."""
    return model.init(key)


@jax.jit
def copy_state(state: State) -> State:
    """A state that the next chunk, to which this one is donated, leaves alone."""
    return jax.tree.map(jnp.copy, state)


class Chunk(NamedTuple):
    """What a chunk of steps leaves behind."""

    step: int
    """Steps done so far."""
    state: State
    """The state after them; the next chunk consumes its buffers (they are donated)."""
    losses: Float[np.ndarray, " S"]
    """The loss of every step of the chunk, before its update."""
    update_to_data: dict[str, float]
    """log10 of std(update) / std(parameter) at the last step, by parameter path: about −3 where
    the learning rate suits (zero-to-hero, lecture 4)."""


def batch_indices(
    key: Array, steps: Int[Array, " S"], batch_size: int, n_examples: int
) -> Int[Array, "S B"]:
    """The examples of each step: they depend on the key and the step's number alone.

    So another chunk size, and a run that was stopped and resumed, see the same batches.
    """

    def draw(step: Int[Array, ""]) -> Int[Array, " B"]:
        return jax.random.randint(jax.random.fold_in(key, step), (batch_size,), 0, n_examples)

    return jax.vmap(draw)(steps)


def scan_steps(
    model: Layer,
    optimizer: optax.GradientTransformation,
    state: State,
    X: Int[Array, "n T"],
    Y: Int[Array, "n ..."],
    key: Array,
    first_step: Int[Array, ""],
    *,
    batch_size: int,
    n_steps: int,
) -> tuple[State, Float[Array, " S"], dict[str, Float[Array, ""]]]:
    """Run ``n_steps`` steps of training in one scan.

    ``train_chunk`` is this, compiled; by options of its own, so not to be called in another jit.

    Args:
        model: static; ids to logits.
        optimizer: static; the same object for every chunk.
        state: parameters and optimiser; ``train_chunk`` consumes its buffers.
        X: all training inputs, on the device; arguments, since jit folds constants.
        Y: all training targets.
        key: of the batches.
        first_step: the number of the chunk's first step.
        batch_size: B.
        n_steps: S.

    Returns:
        The new state, the loss of each step, and ``Chunk.update_to_data`` of the last one.
    """
    indices = batch_indices(key, first_step + jnp.arange(n_steps), batch_size, len(X))

    def step(carry: tuple[State, Tree], batch: tuple[Array, Array]) -> Any:
        (params, opt_state), _ = carry
        loss, grads = loss_and_grad(model, params, *batch)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        # Carrying the last updates costs nothing measurable; computing ratios each step would.
        params = cast(Tree, optax.apply_updates(params, updates))
        return (State(params, opt_state), updates), loss

    first = (state, jax.tree.map(jnp.zeros_like, state.params))
    (state, updates), losses = jax.lax.scan(step, first, (X[indices], Y[indices]))
    params = by_path(state.params)
    ratios = {
        path: _log_ratio(update.std(), params[path].std())
        for path, update in by_path(updates).items()
    }
    return state, losses, ratios


COMPILER_OPTIONS = {"xla_cpu_prefer_vector_width": 512}
"""Of a training step: without it XLA makes vectors of 256 bits where a CPU has 512."""

_STATIC = ("model", "optimizer", "batch_size", "n_steps")
train_chunk = jax.jit(
    scan_steps, static_argnames=_STATIC, donate_argnames="state", compiler_options=COMPILER_OPTIONS
)
# For jax_debug_nans: it calls a function that returned a NaN again, piece by piece.
_undonated_chunk = jax.jit(scan_steps, static_argnames=_STATIC)


def _log_ratio(update: Float[Array, ""], data: Float[Array, ""]) -> Float[Array, ""]:
    # A parameter of equal elements has no scale: infinity, not the NaN of 0/0, so that a NaN
    # always tells of one.
    return jnp.where(data == 0, jnp.inf, jnp.log10(update / jnp.where(data == 0, 1, data)))


def train(
    model: Layer,
    optimizer: optax.GradientTransformation,
    state: State,
    X: Int[Array, "n T"],
    Y: Int[Array, "n ..."],
    key: Array,
    *,
    batch_size: int,
    max_steps: int,
    chunk_size: int,
    first_step: int = 0,
    pauses: Sequence[int] = (),
) -> Iterator[Chunk]:
    """Train up to step ``max_steps``, one :class:`Chunk` at a time.

    Args:
        model: ids to logits.
        optimizer: any of optax's.
        state: where to start; its buffers are consumed.
        X: all training inputs.
        Y: all training targets.
        key: of the batches.
        batch_size: B.
        max_steps: the number of the last step.
        chunk_size: steps per jitted call; it changes nothing but the cadence.
        first_step: steps that ``state`` has behind it.
        pauses: a chunk ends at every multiple of each of them, too.

    Yields:
        A chunk for every ``chunk_size`` steps, and shorter ones up to a pause or the end.
    """
    run = _undonated_chunk if cast(Any, jax.config).jax_debug_nans else train_chunk
    start = first_step
    while start < max_steps:
        ends = start + chunk_size, max_steps, *((start // n + 1) * n for n in pauses)
        n_steps = min(ends) - start
        state, losses, ratios = run(
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
        start += n_steps
        yield Chunk(
            step=start,
            state=state,
            losses=np.asarray(losses),
            update_to_data={path: float(ratio) for path, ratio in ratios.items()},
        )
