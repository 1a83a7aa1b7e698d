"""PyTorch twins of every model, written as a PyTorch user would: the autograd oracle.

Tests and benchmarks import this package; jaxmore never does. A twin is an ``nn.Module`` whose
parameters carry jaxmore's paths (``hidden.weight``), so that :func:`reference.twin.load` can put
the same numbers into both. One file per family, as in ``jaxmore/models/``.
"""
