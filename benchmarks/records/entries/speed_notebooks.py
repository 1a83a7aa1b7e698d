"""The notebooks' own training, ``jaxmore train``'s defaults: SGD 0.1 then 0.01, 200,000 steps."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from benchmarks.records.contexts import distinct_contexts
from benchmarks.records.network import Network, T, calibrated, random_parameters
from jaxmore import mlp_bn
from jaxmore.data import Vocabulary, context_windows
from jaxmore.training.loop import TrainState
from jaxmore.training.loop import train as train_chunks
from jaxmore.training.optimizers import make_optimizer

TRACK, BASELINE = "speed", "speed_notebooks"


def train(words: Sequence[str], vocab: Vocabulary, seed: int) -> Network:
    """Train with batches of 32."""
    model = mlp_bn(vocab.size)
    params = jax.tree.map(jnp.array, random_parameters(vocab.size, seed))
    optimizer = make_optimizer("sgd", 0.1, 0.0, "step", 200_000)
    X, Y = map(jnp.array, context_windows(words, vocab, T))
    state = TrainState(params, optimizer.init(params))
    *_, last = train_chunks(
        model,
        optimizer,
        state,
        X,
        Y,
        jax.random.key(seed),
        batch_size=32,
        max_steps=200_000,
        chunk_size=1000,
    )
    trained = jax.device_get(last.state.params)
    return calibrated(vocab, trained, distinct_contexts(words, vocab, T))
