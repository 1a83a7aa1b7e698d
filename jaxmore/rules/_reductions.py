"""Sums and maxima in forms that XLA compiles to fast CPU code.

For timings see "Forms that XLA makes fast" in docs/benchmarks.md.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxmore.rules._precision import widen


def sum_rows(x: Float[Array, "*B E"]) -> Float[Array, " E"]:
    """Sum over all axes but the last, in at least float32.

    The barrier writes ``x`` to memory first. Otherwise XLA fuses its computation into the sum,
    which runs down one column after another and is not vectorised.
    """
    rows = widen(x).reshape(-1, x.shape[-1])
    return lax.optimization_barrier(rows).sum(0)


def max_keepdims(x: Float[Array, "*shape"], *, axis: int = -1) -> Float[Array, "..."]:
    """Return the maximum over ``axis``, which remains as an axis of size 1.

    ``x.max`` propagates NaN, for which there is no vector instruction, so XLA does not vectorise
    it. The comparison here ignores NaN; the exponentials of the caller propagate it.

    It is a constant to autodiff, because the maximum cancels in a softmax.
    """
    least = jnp.array(-jnp.inf, x.dtype)
    maximum = lax.reduce(
        lax.stop_gradient(x), least, lambda a, b: lax.select(b > a, b, a), (axis % x.ndim,)
    )
    return jnp.expand_dims(maximum, axis)
