"""The learning-rate range test (Smith 2017; notebook 002): one step at each of a thousand rates."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxmore.layers import Layer
from jaxmore.training.loop import TrainState, fresh_params, train_chunk
from jaxmore.training.optimizers import descent

EXPONENTS = {"sgd": (-3.0, 0.0), "adam": (-5.0, -1.0), "adamw": (-5.0, -1.0), "muon": (-5.0, -1.0)}
"""The first and the last rate, as powers of ten. A step of AdamW or Muon is as long as its rate,
whatever the gradient, so their rates are smaller."""


class RangeTest(NamedTuple):
    """The losses of a range test, and the rate that they suggest."""

    rates: Float[np.ndarray, " S"]
    """The learning rates, evenly spaced on a logarithmic scale."""
    losses: Float[np.ndarray, " S"]
    """The loss of each batch, before the step with that rate."""
    smoothed: Float[np.ndarray, " S"]
    """The running median of the losses."""
    suggested: float
    """The rate at which the smoothed loss is lowest."""


def find_learning_rate(
    model: Layer,
    X: Int[Array, "n T"],
    Y: Int[Array, "n ..."],
    *,
    seed: int,
    optimizer: str = "sgd",
    weight_decay: float = 0.0,
    batch_size: int = 32,
    n_rates: int = 1000,
    exponents: tuple[float, float] = EXPONENTS["sgd"],
) -> RangeTest:
    """Train for ``n_rates`` steps while the learning rate grows exponentially.

    The rates are notebook 002's ``10**linspace(-3, 0, 1000)``. (The notebook's update has the sign
    of gradient ascent; this one descends, p ← p − rate · dp.)

    Args:
        model: ids to logits.
        X: training inputs (n, T).
        Y: training targets (n,).
        seed: of the parameters and the batches.
        optimizer: ``sgd``, ``adam``, ``adamw`` or ``muon`` of
            :func:`~jaxmore.training.optimizers.make_optimizer`.
        weight_decay: of :func:`~jaxmore.training.optimizers.make_optimizer`.
        batch_size: B.
        n_rates: how many rates.
        exponents: the powers of ten of the first and the last rate.

    Raises:
        ValueError: there is no such optimiser.
    """
    rates = 10 ** np.linspace(*exponents, n_rates)
    init_key, batch_key = jax.random.split(jax.random.key(seed))
    params = fresh_params(model, init_key)
    low, high = exponents
    sweeping = descent(
        optimizer,
        lambda step: 10 ** (low + (high - low) * step / max(n_rates - 1, 1)),
        weight_decay,
    )
    _, losses, *_ = train_chunk(
        model,
        sweeping,
        TrainState(params, sweeping.init(params)),
        X,
        Y,
        batch_key,
        jnp.asarray(0),
        batch_size=batch_size,
        n_steps=n_rates,
    )
    losses = np.asarray(losses)
    smoothed = _running_median(losses, width=max(1, n_rates // 20))
    return RangeTest(rates, losses, smoothed, float(rates[np.nanargmin(smoothed)]))


def _running_median(values: Float[np.ndarray, " S"], width: int) -> Float[np.ndarray, " S"]:
    # A median is robust against single lucky batches and a diverged tail of NaN or infinity.
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=-1)
