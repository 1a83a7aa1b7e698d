"""Elementwise activations."""

import math
from functools import reduce

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxmore.rules._precision import widen
from jaxmore.rules._reductions import on_one_thread


def tanh(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Compute the hyperbolic tangent elementwise: y = tanh x.

    Derivation. The map is elementwise, so δ(loss) = sum dy · y'(x) δx. By the quotient rule on
    tanh = sinh / cosh, with sinh' = cosh, cosh' = sinh and cosh² − sinh² = 1::

        y' = (cosh² − sinh²) / cosh² = 1 − tanh² = 1 − y²      hence   dx = (1 − y²) dy

    The output suffices, so the input is not saved. But 1 − y² cancels where |y| is near 1: there
    the error of y dominates it, and XLA's float32 tanh is off by up to 4.9 units in the last place
    (ULP). Float32, and the 16-bit dtypes that are computed in it, therefore use their own tanh,
    whose error is at most 1.3 ULP when compiled, and close to correct rounding where |y| > 0.97. It
    subtracts a small fraction from an exact number, a = |x| or 1. The fraction comes from
    tanh = (E − 1)/(E + 1) with E = e^(2a), or from Lambert's continued fraction written as one
    quotient::

        |y| = 1 − 2/(1 + E)                                                            a ≥ 1
        |y| = a/(1 + a²/(3 + a²/(5 + a²/(7 + a²/(9 + a²/11)))))                        a < 1
            = a − a³ (3465 + 189 a² + a⁴) / (10395 + 4725 a² + 210 a⁴ + a⁶)

    E is q(a)², where the polynomial q approximates e^a. A fully accurate exponential would make a
    training step slower, and the larger E is, the fewer of its digits affect y.

    Args:
        x: any shape, float64, float32, bfloat16 or float16.

    Returns:
        y, with the shape and dtype of x.

    Source: Abramowitz & Stegun, Handbook of Mathematical Functions (1964), 4.5.

    >>> import jax.numpy as jnp
    >>> y, residuals = tanh_fwd(jnp.array([0.0, 0.5]))
    >>> (dx,) = tanh_bwd(residuals, jnp.ones(2))
    >>> [round(float(d), 4) for d in dx]
    [1.0, 0.7864]
    """
    # Derivatives of every order are those of jnp.tanh, not of the polynomials. The two values are
    # so close that their difference is exact, and subtracting it gives accurate_tanh(x) exactly.
    theirs = jnp.tanh(x)
    return theirs - (lax.stop_gradient(theirs) - accurate_tanh(lax.stop_gradient(x)))


def tanh_fwd(
    x: Float[Array, "*shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Return ``tanh(x)`` and its residual: the output, which the next layer saves anyway."""
    y = accurate_tanh(x)
    return y, y


def tanh_bwd(
    y: Float[Array, "*shape"], dy: Float[Array, "*shape"]
) -> tuple[Float[Array, "*shape"]]:
    """Compute dx = (1 − y²) dy."""
    return ((1 - y * y) * dy,)


# Coefficients of q(a) ≈ e^a for 1 ≤ a ≤ 9, highest power first. They minimise the squared error of
# 2/(1 + e^(2a)), which is at most 3e-9. Beyond 9 it only matters that q² > 7e7: y rounds to 1.
_EXP = (
    5.45986632e-06, -9.87761305e-05, 9.73146816e-04, -5.08676982e-03, 2.05230154e-02,
    -3.83201763e-02, 1.18942343e-01, 8.09800401e-02, 5.60820520e-01, 9.75048840e-01,
    1.00449419e00,
)  # fmt: skip


def accurate_tanh(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Compute the values of ``tanh(x)``, for use in forward passes with their own backward pass.

    Autodiff of this function differentiates the polynomials; it does not give 1 − y².
    """
    return jnp.tanh(x) if x.dtype == jnp.float64 else on_one_thread(_tanh_by_quotients, x)


def _tanh_by_quotients(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    # tanh 10 rounds to 1, and higher powers would overflow. Selecting numerator and denominator
    # first leaves a single division, the most expensive operation here.
    a = jnp.minimum(jnp.abs(widen(x)), 10)
    small, square = a < 1, a * a
    q = reduce(lambda value, coefficient: value * a + coefficient, _EXP)
    above = jnp.where(small, a * square * (3465 + (189 + square) * square), 2)
    below = jnp.where(small, 10395 + (4725 + (210 + square) * square) * square, 1 + q * q)
    y = jnp.where(small, a, 1) - above / below
    # At 0, returning x keeps the sign of −0 and avoids differentiating |x|, which has a kink there.
    return jnp.where(x == 0, x, jnp.where(x < 0, -y, y).astype(x.dtype))


def sigmoid(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Compute the logistic function elementwise: y = 1 / (1 + exp(−x)).

    Derivation. The map is elementwise, so δ(loss) = sum dy · y'(x) δx. By the chain rule on y = 1/u
    with u = 1 + e, e = exp(−x), e' = −e, and with 1 − y = e/u::

        y' = −u'/u² = e / u² = (1/u) · (e/u) = y (1 − y)       hence   dx = y (1 − y) dy

    The output suffices, so the input is not saved.

    Args:
        x: any shape, float64, float32, bfloat16 or float16.

    Returns:
        y, with the shape and dtype of x.

    Source: Goodfellow, Bengio & Courville, Deep Learning (2016), section 3.10.

    >>> import jax.numpy as jnp
    >>> y, residuals = sigmoid_fwd(jnp.array([0.0, -1000.0]))
    >>> (dx,) = sigmoid_bwd(residuals, jnp.ones(2))
    >>> y.tolist(), dx.tolist()
    ([0.5, 0.0], [0.25, 0.0])
    """
    return lax.logistic(x)


def sigmoid_fwd(
    x: Float[Array, "*shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Return ``sigmoid(x)`` and its residual: the output."""
    y = sigmoid(x)
    return y, y


def sigmoid_bwd(
    y: Float[Array, "*shape"], dy: Float[Array, "*shape"]
) -> tuple[Float[Array, "*shape"]]:
    """Compute dx = y (1 − y) dy."""
    return (y * (1 - y) * dy,)


def relu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Compute the rectified linear unit elementwise: y = max(x, 0).

    Derivation. The map is elementwise, so δ(loss) = sum dy · y'(x) δx. The slope is 1 where x > 0
    and 0 where x < 0. At 0 every number in [0, 1] is a subgradient; this rule takes 0, as PyTorch
    does (the gradient of ``jnp.maximum`` would be ½)::

        dx = dy where x > 0, else 0

    x > 0 exactly where y > 0, so the output suffices. Where x is NaN, y is NaN and dx = dy; where
    x ≤ 0, dx is 0 for any dy, also NaN.

    Args:
        x: any shape, float64, float32, bfloat16 or float16.

    Returns:
        y, with the shape and dtype of x.

    Source: Nair & Hinton, Rectified linear units (ICML 2010).

    >>> import jax.numpy as jnp
    >>> y, residuals = relu_fwd(jnp.array([-1.0, 0.0, 2.0]))
    >>> (dx,) = relu_bwd(residuals, jnp.ones(3))
    >>> y.tolist(), dx.tolist()
    ([0.0, 0.0, 2.0], [0.0, 0.0, 1.0])
    """
    return jnp.where(x <= 0, jnp.zeros_like(x), x)


def relu_fwd(
    x: Float[Array, "*shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Return ``relu(x)`` and its residual: the output, which the next layer saves anyway."""
    y = relu(x)
    return y, y


def relu_bwd(
    y: Float[Array, "*shape"], dy: Float[Array, "*shape"]
) -> tuple[Float[Array, "*shape"]]:
    """Compute dx = dy where y > 0, else 0."""
    return (jnp.where(y <= 0, jnp.zeros_like(dy), dy),)


def gelu(x: Float[Array, "*shape"], *, approximate: bool) -> Float[Array, "*shape"]:
    """Compute the Gaussian error linear unit elementwise: y = x Φ(x), exactly or with tanh for Φ.

    Φ is the cumulative distribution function of N(0, 1), and φ = Φ' is its density. The
    approximation ("NewGELU" in makemore) replaces Φ by ½ (1 + tanh u) with
    u = √(2/π) (x + 0.044715 x³). The two differ by up to 4.7e-4, so ``approximate`` has no default
    (PyTorch defaults to the exact form, JAX to the tanh form).

    Derivation. The map is elementwise, so δ(loss) = sum dy · y'(x) δx, and by the product rule
    y' = Φ + x Φ'.

    Exact: Φ(x) = ½ erfc(−x/√2), and by the fundamental theorem of calculus on its integral::

        Φ' = φ(x) = exp(−x²/2) / √(2π)                 dx = (Φ + x φ) dy

    Tanh: ½ (1 + tanh u) = 1 / (1 + exp(−2u)) = σ(2u), which does not cancel where tanh u is near
    −1. By the chain rule with σ' = σ (1 − σ) (see ``sigmoid``) and 1 − σ(2u) = σ(−2u)::

        Φ' = σ(2u) σ(−2u) 2u',   2u' = 2 √(2/π) (1 + 3 · 0.044715 x²)

        dx = (σ(2u) + x σ(2u) σ(−2u) 2u') dy

    The larger of σ(2u) and σ(−2u) is 1/(1 + e) with e = exp(−|2u|), and the smaller is e times
    that, so both take one exponential and one division.

    The code multiplies dy into each term, which rounds once less than multiplying their sum.

    Args:
        x: any shape, float64, float32, bfloat16 or float16.
        approximate: whether to use the tanh form instead of the exact one.

    Returns:
        y, with the shape and dtype of x.

    Source: Hendrycks & Gimpel, Gaussian Error Linear Units (2016).

    >>> import jax.numpy as jnp
    >>> x = jnp.array([-1.0, 1.0])
    >>> [round(float(y), 4) for y in gelu(x, approximate=True)]
    [-0.1588, 0.8412]
    >>> [round(float(y), 4) for y in gelu(x, approximate=False)]
    [-0.1587, 0.8413]
    """
    wide = widen(x)
    cdf = lax.logistic(_twice_u(wide)) if approximate else _normal_cdf(wide)
    return (wide * cdf).astype(x.dtype)


def gelu_fwd(
    x: Float[Array, "*shape"], *, approximate: bool
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Return ``gelu(x)`` and its residual: the input.

    The output does not determine x (two inputs share each y in (−0.17, 0)). Recomputing Φ costs one
    exp or erfc per element; saving it would hold another array of the size of x.
    """
    return gelu(x, approximate=approximate), x


def gelu_bwd(
    x: Float[Array, "*shape"], dy: Float[Array, "*shape"], *, approximate: bool
) -> tuple[Float[Array, "*shape"]]:
    """Compute dx = (Φ + x Φ') dy."""
    dy_wide = widen(dy)
    # Beyond ±40 Φ' rounds to zero. Without the clip x² would overflow and give 0 · inf = NaN.
    near = jnp.clip(widen(x), -40, 40)
    if approximate:
        twice_u = _twice_u(near)
        e = jnp.exp(-jnp.abs(twice_u))
        larger = 1 / (1 + e)
        cdf = jnp.where(twice_u < 0, e, 1) * larger
        density = e * larger * larger * (_SLOPE * (1 + 3 * _CUBIC * near * near))
    else:
        cdf = _normal_cdf(near)
        density = jnp.exp(-0.5 * near * near) * _INV_SQRT_2PI
    return ((cdf * dy_wide + near * dy_wide * density).astype(x.dtype),)


_CUBIC = 0.044715
_SLOPE = 2 * math.sqrt(2 / math.pi)
_INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)
_SQRT_HALF = math.sqrt(0.5)


def _normal_cdf(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    # erfc, because 1 + erf cancels completely where x is well below zero.
    return 0.5 * lax.erfc(-x * _SQRT_HALF)


def _twice_u(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return _SLOPE * (x + _CUBIC * x * x * x)
