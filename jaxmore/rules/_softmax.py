"""Softmax."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmore.rules._precision import widen
from jaxmore.rules._reductions import max_keepdims


def softmax(x: Float[Array, "*shape"], *, axis: int = -1) -> Float[Array, "*shape"]:
    """Compute probabilities proportional to exp(x): y = exp(x − max x) / sum exp(x − max x).

    The maximum cancels (numerator and denominator contain the same factor exp(−max x)), so it has
    no cotangent; subtracting it only avoids overflow.

    Derivation, for one slice along ``axis``. Take logarithms, log y_i = x_i − log s with
    s = sum exp x, whose derivative in x_j is exp x_j / s = y_j, and multiply by y_i::

        ∂y_i/∂x_j = y_i ([i = j] − y_j)

        dx_j = sum_i dy_i · y_i ([i = j] − y_j) = y_j · (dy_j − sum_i dy_i y_i)

    The output suffices. Since y sums to one, adding a constant to dy changes nothing. The code
    therefore subtracts the mean under y that rounding leaves in u = dy − Σ dy_i y_i. Where one y is
    close to 1, its u is a small difference of large numbers and would have no correct digit::

        dx_j = y_j · (u_j − sum_i u_i y_i),    u = dy − sum_i dy_i y_i

    dx sums to zero, since y sums to one: adding a constant to x changes nothing. (For a loss on
    log-probabilities use ``softmax_cross_entropy``; log(softmax(x)) underflows.)

    Args:
        x: any shape with at least one axis, float64, float32, bfloat16 or float16.
        axis: the axis to normalise over.

    Returns:
        y, with the shape and dtype of x. Exponentials and their sum are in at least float32.

    Source: Goodfellow, Bengio & Courville, Deep Learning (2016), section 6.2.2.3.

    >>> import jax.numpy as jnp
    >>> y, residuals = softmax_fwd(jnp.array([1000.0, 1000.0]))
    >>> (dx,) = softmax_bwd(residuals, jnp.array([1.0, 0.0]))
    >>> y.tolist(), dx.tolist()
    ([0.5, 0.5], [0.25, -0.25])
    """
    x_wide = widen(x)
    weights = jnp.exp(x_wide - max_keepdims(x_wide, axis=axis))
    return (weights / weights.sum(axis, keepdims=True)).astype(x.dtype)


def softmax_fwd(
    x: Float[Array, "*shape"], *, axis: int = -1
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Return ``softmax(x)`` and its residual: the output."""
    y = softmax(x, axis=axis)
    return y, y


def softmax_bwd(
    y: Float[Array, "*shape"], dy: Float[Array, "*shape"], *, axis: int = -1
) -> tuple[Float[Array, "*shape"]]:
    """Compute dx = y (u − Σ u y) with u = dy − Σ dy y; Σ u y is zero except for rounding."""
    y_wide, dy_wide = widen(y), widen(dy)
    u = dy_wide - (dy_wide * y_wide).sum(axis, keepdims=True)
    rest = (u * y_wide).sum(axis, keepdims=True)
    return ((y_wide * (u - rest)).astype(y.dtype),)
