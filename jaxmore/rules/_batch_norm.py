"""Batch normalisation with the unbiased variance, as in the notebooks."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxmore.rules._precision import widen
from jaxmore.rules._reductions import sum_rows


class BatchNormResiduals(NamedTuple):
    """The input, the mean and the variance of the batch, and the gain.

    Saving x̂ instead of x would take the same memory and add a rounding error: x − mean is exact
    where the two are close. The backward pass recomputes x̂ and (var + eps)^(−½).
    """

    x: Float[Array, "*B H"]
    mean: Float[Array, " H"]
    var: Float[Array, " H"]
    gain: Float[Array, " H"]


def batch_norm(
    x: Float[Array, "*B H"],
    gain: Float[Array, " H"],
    bias: Float[Array, " H"],
    *,
    eps: float = 1e-5,
) -> Float[Array, "*B H"]:
    """Normalise each feature over the batch, then scale and shift: y = gain · x̂ + bias.

    With n rows (all leading axes are batch axes)::

        mean = 1/n · sum x        var = 1/(n−1) · sum (x − mean)²        (Bessel's correction)
        r = (var + eps)^(−1/2)    x̂ = (x − mean) · r

    Derivation, for one feature; sums are over the n rows. From y = gain x̂ + bias::

        dgain = sum dy · x̂        dbias = sum dy        dx̂ = gain · dy

    x̂ = c · r with c = x − mean, so by the product rule, and with r = (var + eps)^(−1/2)::

        dr   = sum dx̂ · c = sum dx̂ · x̂ / r
        dvar = −½ (var + eps)^(−3/2) dr = −½ r³ dr = −½ r² · sum dx̂ · x̂
        dc   = r dx̂ + 2 c/(n−1) · dvar = r · (dx̂ − x̂/(n−1) · sum dx̂ · x̂)      (c = x̂ / r)

    c = x − mean is the projection I − 11ᵀ/n applied to x. It is symmetric, hence its own
    transpose: dx is dc minus its mean. x̂ sums to zero, so only dx̂ contributes to that mean::

        dx = r · (dx̂ − 1/n · sum dx̂ − x̂/(n−1) · sum dx̂ · x̂)
           = gain · r · (dy − dbias/n − x̂ · dgain/(n−1))

    Since c sums to zero, sum dy · c = sum d · c with d = dy − dbias/n. The second sum does not
    change if c is off by a constant (a rounded mean). With x̂ = c r and r² = 1/(var + eps)::

        s = sum d · c        dgain = r · s        dx = gain · r · (d − c · s/((n−1) (var + eps)))

    Consequence: dx sums to zero over the batch, so a bias added to x before the normalisation
    (the notebooks' b1) has gradient zero by identity. It has no effect on the output.

    Args:
        x: (*B, H), with at least two rows in total.
        gain: (H,).
        bias: (H,).
        eps: added to the variance, under the root.

    Returns:
        y (*B, H), with the dtype of x. Statistics are in at least float32.

    Raises:
        ValueError: if there is only one row, which has no unbiased variance.

    Source: Ioffe & Szegedy, Batch Normalization (2015), with n − 1 in place of n, as in lecture 4
    of zero-to-hero. (torch.nn.BatchNorm1d divides by n.)

    >>> import jax.numpy as jnp
    >>> x = jnp.array([[1.0], [2.0], [3.0]])
    >>> y, residuals = batch_norm_fwd(x, jnp.ones(1), jnp.zeros(1), eps=0.0)
    >>> y[:, 0].tolist()
    [-1.0, 0.0, 1.0]
    """
    return batch_norm_fwd(x, gain, bias, eps=eps)[0]


def batch_norm_fwd(
    x: Float[Array, "*B H"],
    gain: Float[Array, " H"],
    bias: Float[Array, " H"],
    *,
    eps: float = 1e-5,
) -> tuple[Float[Array, "*B H"], BatchNormResiduals]:
    """Return ``batch_norm(x, gain, bias)`` and its residuals."""
    mean, var = batch_norm_statistics(x)
    x_hat = (widen(x) - mean) * lax.rsqrt(var + eps)
    y = widen(gain) * x_hat + widen(bias)
    return y.astype(x.dtype), BatchNormResiduals(x, mean, var, gain)


def batch_norm_statistics(
    x: Float[Array, "*B H"], counts: Float[Array, " B"] | None = None
) -> tuple[Float[Array, " H"], Float[Array, " H"]]:
    """Compute the mean and the unbiased variance of each feature over all leading axes.

    If x[i] stands for c[i] equal examples of R rows each, then n = R · sum c and ::

        mean = 1/n · sum c x        var = 1/(n−1) · sum c (x − mean)²

    The counts are frequencies of the data, not sampling weights, hence n − 1.

    Args:
        x: (*B, H).
        counts: (B,), how often each entry of the first axis occurs (possibly 0). None means once.

    Returns:
        mean (H,) and var (H,), in at least float32. var is NaN unless n > 1.

    Raises:
        ValueError: if there is only one row and no counts.
    """
    x = widen(x)
    batch = tuple(range(x.ndim - 1))
    n, c = x.size // x.shape[-1], 1
    if counts is not None:
        c = jnp.expand_dims(counts.astype(x.dtype), tuple(range(1, x.ndim)))
        n = c.sum() * (n // len(counts))
    elif n < 2:
        raise ValueError(f"batch_norm needs at least two rows for a variance, got x of {x.shape}")
    mean = (c * x).sum(batch) / n
    centred = x - mean
    return mean, (c * centred * centred).sum(batch) / (n - 1)


def batch_norm_bwd(
    res: BatchNormResiduals, dy: Float[Array, "*B H"], *, eps: float = 1e-5
) -> tuple[Float[Array, "*B H"], Float[Array, " H"], Float[Array, " H"]]:
    """Compute dx = gain r (d − c r² Σ d c / (n−1)), dgain = r Σ d c and dbias, d = dy − dbias/n."""
    n = dy.size // dy.shape[-1]
    dy_wide, gain, var = widen(dy), widen(res.gain), res.var + eps
    r, centred = lax.rsqrt(var), widen(res.x) - res.mean
    dbias = sum_rows(dy)
    d = dy_wide - dbias / n
    along = sum_rows(d * centred)
    dx = gain * r * (d - centred * (along / ((n - 1) * var)))
    return dx.astype(dy.dtype), (r * along).astype(res.gain.dtype), dbias.astype(res.gain.dtype)


def batch_norm_inference(
    x: Float[Array, "*B H"],
    gain: Float[Array, " H"],
    bias: Float[Array, " H"],
    mean: Float[Array, " H"],
    var: Float[Array, " H"],
    *,
    eps: float = 1e-5,
) -> Float[Array, "*B H"]:
    """Normalise with given statistics: gain (x − mean) (var + eps)^(−½) + bias.

    Args:
        x: (*B, H); a single row is allowed.
        gain: (H,).
        bias: (H,).
        mean: (H,), over the training split (or a batch).
        var: (H,), the unbiased variance over the same data.
        eps: as in training.

    Returns:
        y (*B, H), with the dtype of x.
    """
    x_hat = (widen(x) - mean) * lax.rsqrt(var + eps)
    return (widen(gain) * x_hat + widen(bias)).astype(x.dtype)
