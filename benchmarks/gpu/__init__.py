"""jaxmore beside its peers on a GPU: ``python -m benchmarks.gpu``, within fifteen minutes."""
