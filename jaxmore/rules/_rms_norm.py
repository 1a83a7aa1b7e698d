"""Root mean square normalisation: layer normalisation without the mean."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxmore.rules._precision import widen
from jaxmore.rules._reductions import sum_rows


class RmsNormResiduals(NamedTuple):
    """The input, one number a row, and the gain (a parameter: no copy).

    x̂ = x · r is one product away, and x, unlike x̂, is as it came: no rounding, and no copy
    where something else (a residual branch) keeps it too. r is recomputed from mean(x²) + eps.
    """

    x: Float[Array, "*B E"]
    mean_square: Float[Array, "*B 1"]
    gain: Float[Array, " E"]


def rms_norm(
    x: Float[Array, "*B E"], gain: Float[Array, " E"], *, eps: float = 1e-5
) -> Float[Array, "*B E"]:
    """Divide every row by its root mean square, then scale: y = gain · x̂.

    For each row of E features::

        r = (mean(x²) + eps)^(−1/2)        x̂ = x · r

    Derivation. From y = gain x̂, the sum over rows being the transpose of the broadcast::

        dgain = sum over rows of dy · x̂          dx̂ = gain · dy

    x̂ = x · r, so by the product rule and by the power rule on r, whose argument has the
    derivative 2x/E::

        dr = sum dx̂ · x = sum dx̂ · x̂ / r
        dx = r dx̂ − ½ r³ · 2x/E · dr = r · (dx̂ − x̂ · mean(dx̂ · x̂))          (r x = x̂)
           = r · (dx̂ − x · mean(dx̂ · x) / (mean(x²) + eps))

    The last form keeps the roundings of x̂ and of r², which cancel little where E is small, out
    of the difference.

    Args:
        x: (*B, E), any number of leading axes.
        gain: (E,).
        eps: added to the mean square, under the root. (torch.nn.functional.rms_norm takes the
            dtype's machine epsilon where none is given.)

    Returns:
        y (*B, E), the dtype of x; the mean square in at least float32.

    Source: Zhang & Sennrich, Root Mean Square Layer Normalization (NeurIPS 2019).

    >>> import jax.numpy as jnp
    >>> rms_norm(jnp.array([[3.0, 3.0, -3.0]]), jnp.ones(3), eps=0.0).tolist()
    [[1.0, 1.0, -1.0]]
    """
    return rms_norm_fwd(x, gain, eps=eps)[0]


def rms_norm_fwd(
    x: Float[Array, "*B E"], gain: Float[Array, " E"], *, eps: float = 1e-5
) -> tuple[Float[Array, "*B E"], RmsNormResiduals]:
    """``rms_norm(x, gain)`` and its residuals."""
    x_wide = widen(x)
    mean_square = jnp.square(x_wide).mean(-1, keepdims=True) + eps
    y = widen(gain) * (x_wide * lax.rsqrt(mean_square))
    return y.astype(x.dtype), RmsNormResiduals(x, mean_square, gain)


def rms_norm_bwd(
    res: RmsNormResiduals, dy: Float[Array, "*B E"], *, eps: float = 1e-5
) -> tuple[Float[Array, "*B E"], Float[Array, " E"]]:
    """dgain = Σ dy x̂, dx = r (dx̂ − x mean(dx̂ x) / (mean x² + eps)) with dx̂ = gain dy."""
    del eps  # it is inside mean_square
    x, dy_wide, r = widen(res.x), widen(dy), lax.rsqrt(res.mean_square)
    dgain = sum_rows(dy_wide * (x * r))
    dx_hat = widen(res.gain) * dy_wide
    dx = r * (dx_hat - x * ((dx_hat * x).mean(-1, keepdims=True) / res.mean_square))
    return dx.astype(res.x.dtype), dgain.astype(res.gain.dtype)
