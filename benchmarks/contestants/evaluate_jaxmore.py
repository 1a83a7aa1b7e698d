"""jaxmore's ``mean_loss`` over every window, the counting of distinct contexts included."""

from collections.abc import Callable
from typing import Any

from jaxmore.models import MODELS
from jaxmore.training.evaluation import mean_loss


def prepare(network: Any) -> Callable[[], float]:
    model = MODELS["mlp-bn"].make(network.vocab_size)
    return lambda: mean_loss(model, network.params, network.stats, network.X, network.Y)
