"""Sums and maxima in the forms that XLA's CPU compiler makes fast.

How fast stands in docs/benchmarks.md, under "Forms that XLA makes fast".
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxmore.rules._precision import widen


def sum_rows(x: Float[Array, "*B E"]) -> Float[Array, " E"]:
    """The sum over all axes but the last, in at least float32.

    ``x`` is written to memory first (the barrier). Else XLA makes it within the sum, which runs
    down one column after the other, and nothing in it is vectorised.
    """
    rows = widen(x).reshape(-1, x.shape[-1])
    return lax.optimization_barrier(rows).sum(0)


def kept_maximum(x: Float[Array, "*shape"], *, axis: int = -1) -> Float[Array, "..."]:
    """The maximum over ``axis``, which stays as an axis of size 1.

    ``x.max`` hands on a NaN, which no vector instruction does, so XLA takes one number after the
    other. A comparison passes a NaN over; the exponentials of the caller hand it on.

    No derivative goes through it: in a softmax the maximum cancels.
    """
    least = jnp.array(-jnp.inf, x.dtype)
    maximum = lax.reduce(
        lax.stop_gradient(x), least, lambda a, b: lax.select(b > a, b, a), (axis % x.ndim,)
    )
    return jnp.expand_dims(maximum, axis)
