"""makemore.py's transformer (204,544 parameters) by Muon, 4,000 steps, cosine schedule to zero."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from benchmarks.records.tracks import LogProbs
from jaxmore import loss_and_grad, models
from jaxmore.data import Vocabulary, sequences
from jaxmore.layers import Dropout, Layer, Residual, Tree
from jaxmore.training.loop import TrainState, batch_indices
from jaxmore.training.optimizers import make_optimizer

TRACK, BASELINE = "minute", "minute_muon"
BATCH_SIZE, LEARNING_RATE, DECAY, WARMUP = 32, 5e-3, 0.1, 200


class Recipe(NamedTuple):
    """The training run that spends a budget."""

    steps: int
    dropout: float
    """Of every branch: a long run would learn the training words by heart."""


RECIPE = Recipe(4_000, 0.0)


def with_dropout(layer: Layer, rate: float) -> Layer:
    """Add dropout at the end of every branch of a model, without changing its parameters."""
    layer = layer.map(partial(with_dropout, rate=rate))
    if rate and isinstance(layer, Residual):
        return Residual(**dict(layer.layers), dropout=Dropout(rate))
    return layer


@partial(jax.jit, static_argnames=("model", "optimizer", "n_steps"))
def run_steps(
    model: Layer,
    optimizer: optax.GradientTransformation,
    X: Int[Array, "n T"],
    Y: Int[Array, "n T"],
    key: Array,
    n_steps: int,
) -> Tree:
    """Draw parameters and run all steps in one scan."""
    init_key, batch_key, dropout_key = jax.random.split(key, 3)
    params = model.init(init_key)
    steps = jnp.arange(n_steps)
    batches = batch_indices(batch_key, steps, BATCH_SIZE, len(X))

    def step(state: TrainState, batch: tuple[Array, Array]) -> tuple[TrainState, None]:
        i, examples = batch
        step_key = jax.random.fold_in(dropout_key, i)
        _, grads = loss_and_grad(model, state.params, X[examples], Y[examples], step_key)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        return TrainState(optax.apply_updates(state.params, updates), opt_state), None

    first = TrainState(params, optimizer.init(params))
    return jax.lax.scan(step, first, (steps, batches))[0].params


def train(words: Sequence[str], vocab: Vocabulary, seed: int, recipe: Recipe = RECIPE) -> LogProbs:
    """Train with batches of 32 words."""
    X, Y = map(jnp.array, sequences(words, vocab))
    plain = models.transformer(vocab.size, block_size=X.shape[1])
    optimizer = make_optimizer(
        "muon", LEARNING_RATE, DECAY, "cosine", recipe.steps, warmup_steps=WARMUP
    )
    model = with_dropout(plain, recipe.dropout)
    params = run_steps(model, optimizer, X, Y, jax.random.key(seed), n_steps=recipe.steps)
    return lambda words: np.log(probabilities(plain, params, vocab, words))


def probabilities(
    model: Layer, params: Tree, vocab: Vocabulary, words: Sequence[str]
) -> Float[np.ndarray, "n V"]:
    """Compute the probabilities of every next character of the words."""
    block_size = params["embedding"]["position"]["weight"].shape[0]
    X, Y = sequences(words, vocab, block_size)
    return np.asarray(softmax_of(model, params, jnp.array(X)))[Y != -1]


@partial(jax.jit, static_argnums=0)
def softmax_of(model: Layer, params: Tree, X: Int[Array, "B T"]) -> Float[Array, "B T V"]:
    """Compute the softmax of a model's logits."""
    return jax.nn.softmax(model.fwd(params, X)[0])
