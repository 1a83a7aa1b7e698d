"""Causal mean: each position averages itself and all positions before it (a bag of words)."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxmore.rules._precision import widen


def causal_mean(x: Float[Array, "*B T E"]) -> Float[Array, "*B T E"]:
    """Average all rows up to each position: y[t] = 1/t · (x[1] + … + x[t]), t from 1 to T.

    This is causal attention with equal weights, as in makemore's CausalBoW, computed as a running
    sum instead of a product with a T×T matrix.

    Derivation. y = A x with the lower triangular matrix A[t, s] = [s ≤ t] / t, the same for all
    features, so d(loss) = <dy, A dX> = <Aᵀ dy, dX> and::

        dx[s] = sum over t ≥ s of dy[t] / t

    which is a running sum from the end. A is constant, so there is nothing to save: T follows from
    the shape of dy.

    Args:
        x: (*B, T, E), any number of leading axes.

    Returns:
        y (*B, T, E), with the dtype of x. Sums are in at least float32.

    Source: Karpathy, makemore (2022), CausalBoW.

    >>> import jax.numpy as jnp
    >>> causal_mean(jnp.array([[2.0], [4.0], [9.0]]))[:, 0].tolist()
    [2.0, 3.0, 5.0]
    """
    total = lax.cumsum(widen(x), axis=x.ndim - 2)
    return (total / _counts(total)).astype(x.dtype)


def causal_mean_fwd(x: Float[Array, "*B T E"]) -> tuple[Float[Array, "*B T E"], tuple[()]]:
    """Return ``causal_mean(x)`` and empty residuals."""
    return causal_mean(x), ()


def causal_mean_bwd(res: tuple[()], dy: Float[Array, "*B T E"]) -> tuple[Float[Array, "*B T E"]]:
    """Compute dx[s] = Σ over t ≥ s of dy[t] / t."""
    del res
    shares = widen(dy)
    shares = shares / _counts(shares)
    return (lax.cumsum(shares, axis=dy.ndim - 2, reverse=True).astype(dy.dtype),)


def _counts(x: Float[Array, "*B T E"]) -> Float[Array, "T 1"]:
    return jnp.arange(1, x.shape[-2] + 1, dtype=x.dtype)[:, None]
