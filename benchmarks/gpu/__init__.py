"""jaxmore beside its peers on a GPU: ``python -m benchmarks.gpu``, within fifteen minutes."""

from pathlib import Path

NO_TIME = "no time left"
"""The note of a row that was not measured for that reason."""
ROOT = Path(__file__).resolve().parents[2]
