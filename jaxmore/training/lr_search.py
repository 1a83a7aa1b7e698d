"""The learning-rate sweep of seed 002: one step at each of a thousand rates."""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxmore import plots
from jaxmore.files import writing_to
from jaxmore.layers import Layer
from jaxmore.runs.config import TrainConfig
from jaxmore.runs.prepared import prepare
from jaxmore.training.loop import State, fresh_params, train_chunk
from jaxmore.training.optimizers import descent

LR_CURVE = "find-lr.png"
EXPONENTS = {"sgd": (-3.0, 0.0), "adamw": (-5.0, -1.0), "muon": (-5.0, -1.0)}
"""Of ten, first and last rate: a step of AdamW or Muon is as long as its rate, whatever the
gradient."""


class Sweep(NamedTuple):
    """The loss along the sweep."""

    rates: Float[np.ndarray, " S"]
    """10^exponent, exponents evenly spaced."""
    losses: Float[np.ndarray, " S"]
    """The loss of the batch before the step with that rate."""
    smoothed: Float[np.ndarray, " S"]
    """The losses' running median."""
    suggested: float
    """The rate where the smoothed loss is lowest, after the steps at all smaller ones."""


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
) -> Sweep:
    """Train for ``n_rates`` steps while the learning rate grows exponentially.

    The rates are seed 002's ``10**linspace(-3, 0, 1000)``; its step had the sign of ascent,
    here it descends: p ← p − rate · dp.

    Args:
        model: ids to logits.
        X: training inputs (n, T).
        Y: training targets (n,).
        seed: of the parameters and the batches.
        optimizer: ``sgd``, ``adamw`` or ``muon`` of
            :func:`~jaxmore.training.optimizers.make_optimizer`; its state goes along.
        weight_decay: of :func:`~jaxmore.training.optimizers.make_optimizer`.
        batch_size: B.
        n_rates: how many rates.
        exponents: of ten, first and last.
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
    _, losses, _ = train_chunk(
        model,
        sweeping,
        State(params, sweeping.init(params)),
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


def run_find_lr(config: TrainConfig) -> None:
    """``jaxmore find-lr``: seed 002's sweep, a figure and the rate that it suggests.

    It is the training that ``config`` asks for, but for its length and its learning rates.
    """
    task = prepare(config)
    folder = Path(config.work_dir)
    with writing_to(folder):
        pass  # learn of a folder that cannot be written to before all the work
    optimizer = task.settings.optimizer
    X, Y = (jnp.array(a) for a in task.data["train"])
    sweep = find_learning_rate(
        task.model,
        X,
        Y,
        seed=task.settings.seed,
        optimizer=optimizer,
        weight_decay=task.settings.weight_decay,
        batch_size=task.settings.batch_size,
        exponents=EXPONENTS[optimizer],
    )
    curve = plots.learning_rate_curve(sweep.rates, sweep.losses, sweep.smoothed, sweep.suggested)
    with writing_to(folder):
        plots.save(curve, folder / LR_CURVE)
    print(
        f"suggested learning rate for --optimizer {optimizer}: {sweep.suggested:.2g}  "
        f"({folder / LR_CURVE})"
    )
