"""The L2 penalty of a weight."""

from jaxtyping import Array, Float

from jaxmore.rules._precision import widen


def l2_penalty(weight: Float[Array, "*shape"], *, scale: float) -> Float[Array, ""]:
    """Penalise the size of a weight: scale · mean(weight²).

    Derivation. With n elements, loss = scale/n · sum w², and by the power rule, elementwise::

        dweight = 2 scale/n · weight · dloss

    Args:
        weight: any shape, float64, float32, bfloat16 or float16.
        scale: the factor of the penalty in the loss (0.01 in zero-to-hero's neural bigram).

    Returns:
        The penalty, in float32 (float64 for a float64 weight). It is 0 for an empty weight.

    Source: Karpathy, zero-to-hero lecture 2 (2022); Goodfellow, Bengio & Courville, Deep
    Learning (2016), section 7.1.1.

    >>> import jax.numpy as jnp
    >>> float(l2_penalty(jnp.array([[1.0, -3.0]]), scale=0.5))
    2.5
    """
    w = widen(weight)
    return scale / max(w.size, 1) * (w * w).sum()


def l2_penalty_fwd(
    weight: Float[Array, "*shape"], *, scale: float
) -> tuple[Float[Array, ""], Float[Array, "*shape"]]:
    """Return ``l2_penalty(weight)`` and its residual: the weight (a parameter, so no copy)."""
    return l2_penalty(weight, scale=scale), weight


def l2_penalty_bwd(
    weight: Float[Array, "*shape"], dloss: Float[Array, ""], *, scale: float
) -> tuple[Float[Array, "*shape"]]:
    """Compute dweight = 2 scale/n · weight · dloss."""
    slope = 2 * scale / max(weight.size, 1) * dloss
    return ((slope * widen(weight)).astype(weight.dtype),)
