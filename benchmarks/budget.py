"""The smallest dev loss of a ladder model within a minute, and within ten.

``python -m benchmarks budget`` trains makemore.py's transformer at its default size on the seeds'
split, each time in a fresh process without a compilation cache. The clock starts with the words in
memory and stops at the exact dev loss, as the speedrun's. Every gradient is derived by hand.
"""

import json
import os
import subprocess
import sys
import time
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from jaxmore import loss_and_grad, models
from jaxmore.data import Vocabulary, corpus_path, read_words, sequences, split_words
from jaxmore.layers import Dropout, Layer, Residual, Tree
from jaxmore.training.evaluation import calibrate, mean_loss
from jaxmore.training.loop import TrainState, batch_indices
from jaxmore.training.optimizers import make_optimizer

BATCH_SIZE, LEARNING_RATE, DECAY, WARMUP = 32, 5e-3, 0.1, 200


class Recipe(NamedTuple):
    """The training run that spends a budget."""

    steps: int
    """As many as the machine of docs/benchmarks.md can do in the time."""
    dropout: float
    """Of every branch: a long run would learn the training words by heart."""


RECIPES = {60: Recipe(4_000, 0.0), 600: Recipe(38_000, 0.1)}
"""By the budget in seconds."""


def with_dropout(layer: Layer, rate: float) -> Layer:
    """Add dropout at the end of every branch of a model, without changing its parameters."""
    layer = layer.map(partial(with_dropout, rate=rate))
    if rate and isinstance(layer, Residual):
        return Residual(**dict(layer.layers), dropout=Dropout(rate))
    return layer


@partial(jax.jit, static_argnames=("model", "optimizer", "n_steps"))
def train(
    model: Layer,
    optimizer: optax.GradientTransformation,
    params: Tree,
    X: Int[Array, "n T"],
    Y: Int[Array, "n T"],
    key: Array,
    n_steps: int,
) -> tuple[Tree, Float[Array, " S"]]:
    """Run all steps in one scan; return the trained parameters and the loss of every step."""
    batch_key, dropout_key = jax.random.split(key)
    steps = jnp.arange(n_steps)
    batches = batch_indices(batch_key, steps, BATCH_SIZE, len(X))

    def step(state: TrainState, batch: tuple[Array, Array]) -> tuple[TrainState, Array]:
        i, examples = batch
        step_key = jax.random.fold_in(dropout_key, i)
        loss, grads = loss_and_grad(model, state.params, X[examples], Y[examples], step_key)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        return TrainState(optax.apply_updates(state.params, updates), opt_state), loss

    first = TrainState(params, optimizer.init(params))
    state, losses = jax.lax.scan(step, first, (steps, batches))
    return state.params, losses


def timed(recipe: Recipe, seed: int = 0) -> dict[str, Any]:
    """Time one run in this process."""
    words = read_words(corpus_path())
    vocab = Vocabulary.from_words(words)
    split = split_words(words)
    block_size = max(map(len, words)) + 1
    model = with_dropout(models.transformer(vocab.size, block_size=block_size), recipe.dropout)
    init_key, key = jax.random.split(jax.random.key(seed))
    params = jax.block_until_ready(model.init(init_key))
    started = time.perf_counter()
    X, Y = sequences(split.train, vocab, block_size)
    optimizer = make_optimizer(
        "muon", LEARNING_RATE, DECAY, "cosine", recipe.steps, warmup_steps=WARMUP
    )
    params, losses = train(
        model, optimizer, params, jnp.array(X), jnp.array(Y), key, n_steps=recipe.steps
    )
    stats = calibrate(model, params, X[:1])  # LayerNorm keeps none
    dev = mean_loss(model, params, stats, *sequences(split.dev, vocab, block_size))
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "train": float(np.mean(losses[-1000:])), "dev": dev}


def run(quick: bool) -> list[dict[str, Any]]:
    """Return a row for each budget; only the first if ``quick``."""
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    rows: list[dict[str, Any]] = []
    for budget, recipe in tuple(RECIPES.items())[: 1 if quick else None]:
        print(f"budget, {budget} s", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.budget", str(budget)],
            check=True,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        rows.append({"budget": budget} | recipe._asdict() | json.loads(done.stdout))
    return rows


if __name__ == "__main__":
    print(json.dumps(timed(RECIPES[int(sys.argv[1])])))
