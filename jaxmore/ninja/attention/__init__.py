"""The exercise on attention: a transformer's layer norm, softmax and heads in small steps."""

from jaxmore.ninja.attention.example_batch import Batch, batch
from jaxmore.ninja.attention.stepwise import (
    Cotangents,
    Intermediates,
    Parameters,
    backward,
    forward,
)

__all__ = ["Batch", "Cotangents", "Intermediates", "Parameters", "backward", "batch", "forward"]
