"""Layer normalisation."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxmore.rules._precision import widen
from jaxmore.rules._recompute import recompute_after
from jaxmore.rules._reductions import sum_rows


class LayerNormResiduals(NamedTuple):
    """The input, three numbers per row, and the gain (a parameter, so no copy).

    Saving x̂ instead of x would take the same memory and add two rounding errors. The mean is saved
    as two numbers, the rounded mean and the remainder, and the variance includes eps; x̂ is x minus
    both, times (var + eps)^(−½). The gradient does not depend on the bias. If the next layer's
    backward pass needs y, ``layer_norm_recompute`` computes it from these residuals and the bias.
    """

    x: Float[Array, "*B E"]
    mean: Float[Array, "*B 1"]
    rest: Float[Array, "*B 1"]
    var: Float[Array, "*B 1"]
    gain: Float[Array, " E"]


def layer_norm(
    x: Float[Array, "*B E"],
    gain: Float[Array, " E"],
    bias: Float[Array, " E"],
    *,
    eps: float = 1e-5,
) -> Float[Array, "*B E"]:
    """Normalise each row over its features, then scale and shift: y = gain · x̂ + bias.

    For each row, with the biased variance (divided by E, not by E − 1)::

        mean = 1/E · sum x        var = 1/E · sum (x − mean)²
        r = (var + eps)^(−1/2)    x̂ = (x − mean) · r

    Derivation. From y = gain x̂ + bias, since a sum over rows is the transpose of a broadcast::

        dgain = sum over rows of dy · x̂      dbias = sum over rows of dy      dx̂ = gain · dy

    The rest is for one row; means are over its E features. x̂ = c · r with c = x − mean, so by the
    product rule, and by the power rule on r = (var + eps)^(−1/2)::

        dr   = sum dx̂ · c = sum dx̂ · x̂ / r                                    (c = x̂ / r)
        dvar = −½ (var + eps)^(−3/2) dr = −½ r³ dr = −½ r² · sum dx̂ · x̂
        dc   = r dx̂ + 2 c/E · dvar = r · (dx̂ − x̂ · mean(dx̂ · x̂))

    c = x − mean is the projection I − 11ᵀ/E applied to x. It is symmetric, hence its own
    transpose: dx is dc minus its mean::

        dx = r · (t − mean(t)),    t = dx̂ − x̂ · mean(dx̂ · x̂)

    (x̂ sums to zero, so mean(t) = mean(dx̂), but with the mean of the rounded t, dx sums closer to
    zero.) Writing x̂ = c r and r² = 1/(var + eps) keeps the rounding errors of x̂ and r² out of the
    difference::

        t = dx̂ − c · mean(dx̂ · c) / (var + eps)

    Args:
        x: (*B, E), with any number of leading axes. If E = 1, y is the bias and dx is zero.
        gain: (E,).
        bias: (E,).
        eps: added to the variance, under the root.

    Returns:
        y (*B, E), with the dtype of x. Statistics are in at least float32.

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
    """Return ``layer_norm(x, gain, bias)`` and its residuals."""
    x_wide = widen(x)
    mean = x_wide.mean(-1, keepdims=True)
    # The rounding error of the mean can exceed 1e-3 of a small deviation, so subtract it as well.
    rest = (x_wide - mean).mean(-1, keepdims=True)
    var = jnp.square(x_wide - mean - rest).mean(-1, keepdims=True) + eps
    res = LayerNormResiduals(x, mean, rest, var, gain)
    return layer_norm_recompute(res, bias), res


def layer_norm_recompute(res: LayerNormResiduals, bias: Float[Array, " E"]) -> Float[Array, "*B E"]:
    """Recompute y = gain · x̂ + bias from the residuals."""
    x_hat = _centred(widen(res.x), res) * lax.rsqrt(res.var)
    return (widen(res.gain) * x_hat + widen(bias)).astype(res.x.dtype)


def layer_norm_bwd(
    res: LayerNormResiduals, dy: Float[Array, "*B E"], *, eps: float = 1e-5
) -> tuple[Float[Array, "*B E"], Float[Array, " E"], Float[Array, " E"]]:
    """Compute dx = r (t − mean t) with t = dx̂ − c mean(dx̂ c)/(var + eps), dgain = Σ dy x̂, dbias."""
    del eps  # already included in var
    dy_wide = widen(dy)
    # From jax 0.12 on, XLA's CPU compiler hands the sums to a library, which takes c and the
    # broadcast gain and r as arrays. Unless they depend on dy, XLA computes all three in the
    # forward pass and keeps them.
    x, gain, r = recompute_after(dy_wide, (widen(res.x), widen(res.gain), lax.rsqrt(res.var)))
    centred = _centred(x, res)
    dgain = sum_rows(dy_wide * (centred * r))
    dbias = sum_rows(dy)
    dx_hat = gain * dy_wide
    t = dx_hat - centred * ((dx_hat * centred).mean(-1, keepdims=True) / res.var)
    dx = r * (t - t.mean(-1, keepdims=True))
    return dx.astype(res.x.dtype), dgain.astype(res.gain.dtype), dbias.astype(res.gain.dtype)


def _centred(x: Float[Array, "*B E"], res: LayerNormResiduals) -> Float[Array, "*B E"]:
    return x - res.mean - res.rest
