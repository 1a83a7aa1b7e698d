"""The learning-rate sweep of seed 002: one step at each of a thousand rates."""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from jaxmore import plots
from jaxmore.errors import InputError
from jaxmore.layers import Layer
from jaxmore.models import model_options
from jaxmore.training.corpus import build_model, examples, read_corpus
from jaxmore.training.loop import State, train_chunk

LR_CURVE = "find-lr.png"


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


def run_find_lr(
    input_file: str | None, work_dir: str, *, type: str, batch_size: int, seed: int
) -> None:
    """``jaxmore find-lr``: seed 002's sweep, a figure and the rate that it suggests."""
    corpus = read_corpus(type, input_file, unique=False)
    options = model_options(type, longest_word=corpus.longest_word)
    block_size = corpus.block_size(options)
    model = build_model(
        type, corpus.vocab.size, options, batch_size=batch_size, block_size=block_size
    )
    X, Y = examples(type, corpus.splits.train, corpus.vocab, block_size)
    sweep = find_learning_rate(model, jnp.array(X), jnp.array(Y), seed=seed, batch_size=batch_size)
    figure = Path(work_dir) / LR_CURVE
    try:
        figure.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {work_dir}: {error.strerror}") from error
    plots.save(
        plots.learning_rate_curve(sweep.rates, sweep.losses, sweep.smoothed, sweep.suggested),
        figure,
    )
    print(f"suggested learning rate for --optimizer sgd: {sweep.suggested:.2g}  ({figure})")
