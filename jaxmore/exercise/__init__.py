"""The backprop-ninja exercise for you to do: `jaxmore exercise DIR`, then `jaxmore check`."""

from jaxmore.exercise.batch import Batch, batch
from jaxmore.exercise.check import Report, Verdict, check
from jaxmore.exercise.task import write

__all__ = ["Batch", "Report", "Verdict", "batch", "check", "write"]
