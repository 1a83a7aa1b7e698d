"""The dtype in which sums accumulate."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def accumulator(dtype: jnp.dtype) -> jnp.dtype:
    """Return the dtype for sums over ``dtype``: float32, or float64 for float64."""
    return jnp.dtype("float32") if jnp.finfo(dtype).bits < 32 else dtype


def widen(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Cast ``x`` to its accumulator dtype. Float32 and float64 arrays are returned unchanged."""
    return x.astype(accumulator(x.dtype))
