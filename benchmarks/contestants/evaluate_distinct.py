"""jaxmore over the distinct contexts; counting them is part of the preparation, once per split."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from benchmarks.distinct import mean_loss, tally
from jaxmore.models import MODELS


def prepare(network: Any) -> Callable[[], float]:
    model = MODELS["mlp-bn"].make(network.vocab_size)
    X, counts = map(jnp.array, tally(network.X, network.Y, network.vocab_size))
    return lambda: float(mean_loss(model, network.params, network.stats, X, counts))
