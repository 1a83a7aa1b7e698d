"""What the backward computes again, where the forward did not keep it, and when."""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_Residuals = TypeVar("_Residuals")


def after(signal: Float[Array, "*shape"], residuals: _Residuals) -> _Residuals:
    """``residuals`` as they are, yet not before ``signal``, which comes of the cotangent.

    Forward and backward are one program to the compiler. It merges equal expressions, and it
    starts each as soon as its arguments are there: what the backward computes again from
    residuals would be the forward's own array, kept in between, and nothing would be saved.
    ``jax.lax.optimization_barrier`` is meant to stop that, but XLA's CPU compiler drops it before
    it merges for the last time and puts in order. So each element is chosen by the signal beside
    it: itself if the signal equals itself, which every number does, and NaN if it is NaN. XLA may
    not drop that, and fuses it into whatever comes next.

    Args:
        signal: as NaN in it becomes NaN in the residuals, a part of the cotangent whose NaN
            spoils the same gradients anyway. It broadcasts to the shape of each residual.
        residuals: a tree of floating-point arrays.

    >>> import jax.numpy as jnp
    >>> after(jnp.array(0.5), {"x": jnp.array([3.0])})["x"].tolist()
    [3.0]
    """
    return jax.tree.map(lambda x: jnp.where(signal == signal, x, jnp.nan), residuals)
