"""Check the rules of hijax primitives, JAX's newest form of a rule."""

from jaxmore.testing.hijax.check import check_hiprim

__all__ = ["check_hiprim"]
