"""Divergence: the step at which training broke down, and the variable that broke first."""

from typing import Any, cast

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int

from jaxmore.backprop import trace
from jaxmore.layers import Layer, by_path
from jaxmore.training.loop import Chunk, Devices, TrainState, batch_indices, train
from jaxmore.training.optimizers import MOST_SKIPPED

ONE_DEVICE = Devices()
"""Where a run without ``--mesh`` computes."""


def diverged_at(
    chunk: Chunk, *, skipping: bool = False, devices: Devices = ONE_DEVICE
) -> int | None:
    """Return the first step of a chunk at which the run diverged, or None.

    It is the step whose loss is NaN or infinite. If only the chunk's last update made a parameter
    non-finite, it is the step after the chunk, so that no checkpoint holds such a parameter. With
    ``skipping``, a run has diverged once a parameter is non-finite: because an update overflowed,
    or because ``MOST_SKIPPED`` bad steps in a row were skipped and the next one was not. The
    answer does not depend on the chunk size.
    """
    bad = np.flatnonzero(~np.isfinite(chunk.losses))
    if bad.size and not skipping:
        return chunk.step - len(chunk.losses) + int(bad[0])
    # A non-finite parameter always gives a NaN ratio; very large finite ones can give it too.
    suspect = np.isnan(list(chunk.update_to_data.values())).any()
    if not suspect or not _non_finite(by_path(devices.fetch(chunk.state.params))):
        return None
    if not skipping:
        return chunk.step
    in_a_row = int(cast(Any, chunk.state.opt_state).notfinite_count)
    return chunk.step - in_a_row + (MOST_SKIPPED if in_a_row > MOST_SKIPPED else 0)


def first_non_finite(
    model: Layer,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    X: Int[Array, "n ..."],
    Y: Int[Array, "n ..."],
    key: Array | None,
    *,
    first_step: int,
    bad_step: int,
    batch_size: int,
    devices: Devices = ONE_DEVICE,
) -> str:
    """Replay the steps up to the one that diverged and name the first non-finite variable.

    Batches depend on the seed and the step alone, so the replay is exact.

    Args:
        model: ids to logits.
        optimizer: the optimiser of the run.
        state: the state after ``first_step`` steps, all finite; its buffers are consumed.
        X: all training inputs.
        Y: all training targets.
        key: of the batches; None where X and Y are those of the steps ``first_step`` to
            ``bad_step``.
        first_step: the step at which the replay begins.
        bad_step: the result of :func:`diverged_at`, at least ``first_step``.
        batch_size: B.
        devices: where the steps are computed.
    """

    def advance(state: TrainState, start: int, end: int) -> TrainState:
        x, y = X, Y
        if key is None:
            x, y = (a[start - first_step : end - first_step] for a in (X, Y))
        (chunk,) = train(
            model,
            optimizer,
            state,
            x,
            y,
            key,
            batch_size=batch_size,
            max_steps=end,
            chunk_size=end - start,
            first_step=start,
            run_chunk=devices.run_chunk,
        )
        return chunk.state

    step = bad_step
    if bad_step > first_step:
        if bad_step - 1 > first_step:
            state = advance(state, first_step, bad_step - 1)
        before = devices.fetch(state.params)
        after = devices.fetch(advance(state, bad_step - 1, bad_step).params)
        turned = _non_finite(by_path(after))
        step, params = (bad_step - 1, before) if turned else (bad_step, after)
    else:
        turned, params = [], devices.fetch(state.params)
    if key is None:
        at = step - first_step
    else:
        at = batch_indices(key, jnp.asarray([step]), batch_size, len(X))[0]
    places = trace(model, params, X[at], Y[at])
    order = [place for place in (*_forward_order(model), "loss") if place in places]
    values = _non_finite({place: places[place][0] for place in order})
    cotangents = _non_finite({place: places[place][1] for place in reversed(order)})
    gradients = _non_finite({place: places[place][1] for place in by_path(params)})
    if values:
        return f"{values[0]} at step {step:,}"
    if cotangents or gradients:
        return f"the cotangent of {(cotangents or gradients)[0]} at step {step:,}"
    return (
        f"{turned[0]}, by the update of step {step:,}" if turned else f"the loss at step {step:,}"
    )


def _non_finite(arrays: dict[str, Any]) -> list[str]:
    return [name for name, array in arrays.items() if not np.isfinite(np.asarray(array)).all()]


def _forward_order(layer: Any, prefix: str = "") -> list[str]:
    order: list[str] = []
    for name, inner in getattr(layer, "layers", ()):
        order += [*_forward_order(inner, f"{prefix}{name}."), f"{prefix}{name}"]
    return order
