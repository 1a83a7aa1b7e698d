"""The dtype in which sums are taken."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def accumulator(dtype: jnp.dtype) -> jnp.dtype:
    """The dtype for sums over values of ``dtype``: float32, or float64 for float64."""
    return jnp.dtype("float32") if jnp.finfo(dtype).bits < 32 else dtype


def widen(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``x`` in its accumulator dtype; float32 and float64 arrays are returned as they are."""
    return x.astype(accumulator(x.dtype))
