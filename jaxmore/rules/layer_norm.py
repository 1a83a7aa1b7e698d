"""Layer normalisation: every row by its own mean and variance."""

from typing import NamedTuple

from jax import lax
from jaxtyping import Array, Float

from jaxmore.rules.precision import widen


class LayerNormResiduals(NamedTuple):
    """The normalised input, one number a row, and the gain (a parameter: no copy).

    x̂ takes the room of x and spares the backward x, the mean and a subtraction; r = 1/std is
    one number for E. The bias does not matter. Nor is y kept, which the next layer's backward
    may want: ``layer_norm_recall`` tells it again from these and the bias.
    """

    x_hat: Float[Array, "*B E"]
    r: Float[Array, "*B 1"]
    gain: Float[Array, " E"]


def layer_norm(
    x: Float[Array, "*B E"],
    gain: Float[Array, " E"],
    bias: Float[Array, " E"],
    *,
    eps: float = 1e-5,
) -> Float[Array, "*B E"]:
    """Normalise every row over its features, then scale and shift: y = gain · x̂ + bias.

    For each row, with the biased variance (divided by E, not E − 1)::

        mean = 1/E · sum x        var = 1/E · sum (x − mean)²
        r = (var + eps)^(−1/2)    x̂ = (x − mean) · r

    Derivation. From y = gain x̂ + bias, sums over the rows being the transpose of the broadcast::

        dgain = sum over rows of dy · x̂      dbias = sum over rows of dy      dx̂ = gain · dy

    The rest is for one row; means run over its E features. x̂ = c · r with c = x − mean, so by
    the product rule, and by the power rule on r = (var + eps)^(−1/2)::

        dr   = sum dx̂ · c = sum dx̂ · x̂ / r                                    (c = x̂ / r)
        dvar = −½ (var + eps)^(−3/2) dr = −½ r³ dr = −½ r² · sum dx̂ · x̂
        dc   = r dx̂ + 2 c/E · dvar = r · (dx̂ − x̂ · mean(dx̂ · x̂))

    c = x − mean is the projection I − 11ᵀ/E, symmetric, so its transpose is itself: dx is dc
    less its mean::

        dx = r · (t − mean(t)),    t = dx̂ − x̂ · mean(dx̂ · x̂)

    (x̂ sums to zero, so mean(t) = mean(dx̂); but the mean of the rounded t leaves less of a sum.)

    Args:
        x: (*B, E), any number of leading axes; with E = 1, y is the bias and dx is zero.
        gain: (E,).
        bias: (E,).
        eps: added to the variance, under the root.

    Returns:
        y (*B, E), the dtype of x; statistics in at least float32.

    Source: Ba, Kiros & Hinton, Layer Normalization (2016).

    >>> import jax.numpy as jnp
    >>> x = jnp.array([[1.0, 3.0]])
    >>> y, residuals = layer_norm_fwd(x, jnp.ones(2), jnp.zeros(2), eps=0.0)
    >>> y.tolist()
    [[-1.0, 1.0]]
    """
    return layer_norm_fwd(x, gain, bias, eps=eps)[0]


def layer_norm_fwd(
    x: Float[Array, "*B E"],
    gain: Float[Array, " E"],
    bias: Float[Array, " E"],
    *,
    eps: float = 1e-5,
) -> tuple[Float[Array, "*B E"], LayerNormResiduals]:
    """``layer_norm(x, gain, bias)`` and its residuals."""
    x_wide = widen(x)
    centred = x_wide - x_wide.mean(-1, keepdims=True)
    # The mean was rounded, to more than 1e-3 of a small deviation: what it left is taken off too.
    centred = centred - centred.mean(-1, keepdims=True)
    r = lax.rsqrt((centred * centred).mean(-1, keepdims=True) + eps)
    x_hat = centred * r
    y = widen(gain) * x_hat + widen(bias)
    return y.astype(x.dtype), LayerNormResiduals(x_hat.astype(x.dtype), r, gain)


def layer_norm_recall(res: LayerNormResiduals, bias: Float[Array, " E"]) -> Float[Array, "*B E"]:
    """y again, from what the backward keeps: gain · x̂ + bias."""
    return (widen(res.gain) * widen(res.x_hat) + widen(bias)).astype(res.x_hat.dtype)


def layer_norm_bwd(
    res: LayerNormResiduals, dy: Float[Array, "*B E"], *, eps: float = 1e-5
) -> tuple[Float[Array, "*B E"], Float[Array, " E"], Float[Array, " E"]]:
    """dgain = Σ dy x̂, dbias = Σ dy, dx = r (t − mean t), t = dx̂ − x̂ mean(dx̂ x̂), dx̂ = gain dy."""
    del eps  # it is inside r
    dy_wide, x_hat, gain = widen(dy), widen(res.x_hat), widen(res.gain)
    rows = tuple(range(dy.ndim - 1))
    dgain = (dy_wide * x_hat).sum(rows)
    dbias = dy_wide.sum(rows)
    dx_hat = gain * dy_wide
    t = dx_hat - x_hat * (dx_hat * x_hat).mean(-1, keepdims=True)
    dx = res.r * (t - t.mean(-1, keepdims=True))
    return dx.astype(dy.dtype), dgain.astype(res.gain.dtype), dbias.astype(res.gain.dtype)
