"""The learning-rate sweep of seed 002: one step at each of a thousand rates."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from jaxmore.layers import Layer
from jaxmore.training.loop import State, train_chunk


class Sweep(NamedTuple):
    """The loss along the sweep."""

    rates: Float[np.ndarray, " S"]
    """10^exponent, exponents evenly spaced."""
    losses: Float[np.ndarray, " S"]
    """The loss of the batch before the step with that rate."""
    smoothed: Float[np.ndarray, " S"]
    """The losses' running median."""
    suggested: float
    """The rate where the smoothed loss is lowest: the largest that still helps."""


def find_learning_rate(
    model: Layer,
    X: Int[Array, "n T"],
    Y: Int[Array, "n ..."],
    *,
    seed: int,
    batch_size: int = 32,
    n_rates: int = 1000,
    exponents: tuple[float, float] = (-3.0, 0.0),
) -> Sweep:
    """Train for ``n_rates`` steps of gradient descent while the rate grows exponentially.

    The rates are seed 002's ``10**linspace(-3, 0, 1000)``; its step had the sign of ascent,
    here it descends: p ← p − rate · dp.

    Args:
        model: ids to logits.
        X: training inputs (n, T).
        Y: training targets (n,).
        seed: of the parameters and the batches.
        batch_size: B.
        n_rates: how many rates.
        exponents: of ten, first and last.
    """
    rates = 10 ** np.linspace(*exponents, n_rates)
    init_key, batch_key = jax.random.split(jax.random.key(seed))
    params = model.init(init_key)
    low, high = exponents
    optimizer = optax.sgd(lambda step: 10 ** (low + (high - low) * step / max(n_rates - 1, 1)))
    state = State(params, optimizer.init(params))
    _, losses, _ = train_chunk(
        model,
        optimizer,
        state,
        X,
        Y,
        batch_key,
        jnp.asarray(0),
        batch_size=batch_size,
        n_steps=n_rates,
    )
    losses = np.asarray(losses)
    smoothed = _running_median(losses, width=max(1, n_rates // 20))
    return Sweep(rates, losses, smoothed, float(rates[np.nanargmin(smoothed)]))


def _running_median(values: Float[np.ndarray, " S"], width: int) -> Float[np.ndarray, " S"]:
    # The median forgives a single lucky batch, and a diverged tail of NaN or infinity.
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=-1)
