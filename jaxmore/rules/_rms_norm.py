"""Root mean square normalisation: layer normalisation without the mean."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxmore.rules._precision import widen
from jaxmore.rules._reductions import sum_rows


class RmsNormResiduals(NamedTuple):
    """The input, one number per row, and the gain (a parameter, so no copy), or None.

    x̂ = x · r is one product away. Unlike x̂, x has no rounding error, and there is no copy where
    something else (a residual branch) saves it too. r is recomputed from mean(x²) + eps.
    """

    x: Float[Array, "*B E"]
    mean_square: Float[Array, "*B 1"]
    gain: Float[Array, " E"] | None


def rms_norm(
    x: Float[Array, "*B E"], gain: Float[Array, " E"] | None = None, *, eps: float = 1e-5
) -> Float[Array, "*B E"]:
    """Divide each row by its root mean square, then scale: y = gain · x̂.

    For each row of E features::

        r = (mean(x²) + eps)^(−1/2)        x̂ = x · r

    Derivation. From y = gain x̂, since a sum over rows is the transpose of a broadcast::

        dgain = sum over rows of dy · x̂          dx̂ = gain · dy

    Without a gain, y = x̂ and dx̂ = dy. The rest is the same for both. x̂ = x · r, so by the product
    rule, and by the power rule on r, whose argument has the derivative 2x/E::

        dr = sum dx̂ · x = sum dx̂ · x̂ / r
        dx = r dx̂ − ½ r³ · 2x/E · dr = r · (dx̂ − x̂ · mean(dx̂ · x̂))          (r x = x̂)
           = r · (dx̂ − x · mean(dx̂ · x) / (mean(x²) + eps))

    The last form keeps the rounding errors of x̂ and r², which matter where E is small, out of the
    difference.

    Args:
        x: (*B, E), with any number of leading axes.
        gain: (E,), or None to normalise without scaling.
        eps: added to the mean square, under the root. (torch.nn.functional.rms_norm defaults to
            the machine epsilon of the dtype.)

    Returns:
        y (*B, E), with the dtype of x. The mean square is in at least float32.

    Source: Zhang & Sennrich, Root Mean Square Layer Normalization (NeurIPS 2019).

    >>> import jax.numpy as jnp
    >>> rms_norm(jnp.array([[3.0, 3.0, -3.0]]), jnp.array([1.0, 2.0, 1.0]), eps=0.0).tolist()
    [[1.0, 2.0, -1.0]]
    >>> rms_norm(jnp.array([[3.0, 3.0, -3.0]]), eps=0.0).tolist()
    [[1.0, 1.0, -1.0]]
    """
    return rms_norm_fwd(x, gain, eps=eps)[0]


def rms_norm_fwd(
    x: Float[Array, "*B E"], gain: Float[Array, " E"] | None = None, *, eps: float = 1e-5
) -> tuple[Float[Array, "*B E"], RmsNormResiduals]:
    """Return ``rms_norm(x, gain)`` and its residuals."""
    x_wide = widen(x)
    mean_square = jnp.square(x_wide).mean(-1, keepdims=True) + eps
    y = x_wide * lax.rsqrt(mean_square)
    if gain is not None:
        y = widen(gain) * y
    return y.astype(x.dtype), RmsNormResiduals(x, mean_square, gain)


def rms_norm_bwd(
    res: RmsNormResiduals, dy: Float[Array, "*B E"], *, eps: float = 1e-5
) -> tuple[Float[Array, "*B E"], Float[Array, " E"] | None]:
    """Compute dx = r (dx̂ − x mean(dx̂ x) / (mean x² + eps)) with dx̂ = gain dy, dgain = Σ dy x̂."""
    del eps  # already included in mean_square
    x, dx_hat, dgain, r = widen(res.x), widen(dy), None, lax.rsqrt(res.mean_square)
    if res.gain is not None:
        dgain = sum_rows(dx_hat * (x * r)).astype(res.gain.dtype)
        dx_hat = widen(res.gain) * dx_hat
    dx = r * (dx_hat - x * ((dx_hat * x).mean(-1, keepdims=True) / res.mean_square))
    return dx.astype(res.x.dtype), dgain
