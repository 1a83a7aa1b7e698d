"""The exercise on the GRU: three time steps in small steps, and the sum over time."""

from jaxmore.ninja.gru.example_batch import Batch, batch
from jaxmore.ninja.gru.stepwise import (
    Cotangents,
    Intermediates,
    Parameters,
    backward,
    forward,
)

__all__ = ["Batch", "Cotangents", "Intermediates", "Parameters", "backward", "batch", "forward"]
