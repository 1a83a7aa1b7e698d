"""What the backward computes again, where the forward did not keep it."""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_Residuals = TypeVar("_Residuals")


def after(dy: Float[Array, "*shape"], residuals: _Residuals) -> _Residuals:
    """``residuals`` as they are, yet not before the cotangent ``dy`` has come.

    Forward and backward are one program to the compiler. It merges equal expressions, and it
    starts each as soon as its arguments are there: what the backward computes again from
    residuals would be the forward's own array, kept in between, and nothing would be saved.
    ``jax.lax.optimization_barrier`` is meant to stop that, but XLA's CPU compiler drops it before
    it merges. So each element is chosen by the first number of dy: itself if that number equals
    itself, which every number does, and NaN if it is NaN, when the gradient is lost anyway. XLA
    may not drop that, and fuses it into whatever comes next.

    Args:
        dy: the cotangent; an empty one counts as 0.
        residuals: a tree of floating-point arrays.

    >>> import jax.numpy as jnp
    >>> after(jnp.array([0.5, 2.0]), {"x": jnp.array([3.0])})["x"].tolist()
    [3.0]
    """
    first = dy[(slice(1),) * dy.ndim].sum()
    return jax.tree.map(lambda x: jnp.where(first == first, x, jnp.nan), residuals)
