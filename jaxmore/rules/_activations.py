"""Elementwise non-linearities."""

import math
from functools import reduce

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxmore.rules._precision import widen


def tanh(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Hyperbolic tangent, y = tanh x, elementwise.

    Derivation. Elementwise, so d(loss) = sum dy · y'(x) dx, and by the quotient rule on
    tanh = sinh / cosh with sinh' = cosh, cosh' = sinh and cosh² − sinh² = 1::

        y' = (cosh² − sinh²) / cosh² = 1 − tanh² = 1 − y²      hence   dx = (1 − y²) dy

    The output alone is enough, so the input need not be kept. But where |y| is near 1 an error of
    y is all that is left of 1 − y², and XLA's float32 tanh is off by up to 4.9 units in the last
    place. So float32, and the 16-bit dtypes that are computed in it, have a tanh of their own, off
    by 1.3 at most when compiled, and all but correctly rounded where |y| > 0.97. It takes a small
    fraction from a number that has no error, a = |x| or 1: by tanh = (E − 1)/(E + 1) with
    E = e^(2a), and by Lambert's continued fraction, on one line::

        |y| = 1 − 2/(1 + E)                                                            a ≥ 1
        |y| = a/(1 + a²/(3 + a²/(5 + a²/(7 + a²/(9 + a²/11)))))                        a < 1
            = a − a³ (3465 + 189 a² + a⁴) / (10395 + 4725 a² + 210 a⁴ + a⁶)

    E is q(a)², q a polynomial near e^a: an exponential with all its digits would cost a training
    step more, and the larger E is, the fewer of its digits reach y.

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
    # Derivatives of any order are those of JAX's tanh, not of the polynomials. The difference of
    # two neighbours is exact, and so is its sum with one of them: the other.
    theirs = jnp.tanh(x)
    return theirs - lax.stop_gradient(theirs - accurate_tanh(x))


def tanh_fwd(
    x: Float[Array, "*shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """``tanh(x)`` and its residual: the output, which the next layer keeps anyway."""
    y = accurate_tanh(x)
    return y, y


def tanh_bwd(
    y: Float[Array, "*shape"], dy: Float[Array, "*shape"]
) -> tuple[Float[Array, "*shape"]]:
    """dx = (1 − y²) dy."""
    return ((1 - y * y) * dy,)


# e^a for 1 ≤ a ≤ 9, the highest power first: the least squares of what its error does to
# 2/(1 + e^(2a)), 3e-9 at most. Beyond 9 only q² > 7e7 matters: y rounds to 1.
_EXP = (
    5.45986632e-06, -9.87761305e-05, 9.73146816e-04, -5.08676982e-03, 2.05230154e-02,
    -3.83201763e-02, 1.18942343e-01, 8.09800401e-02, 5.60820520e-01, 9.75048840e-01,
    1.00449419e00,
)  # fmt: skip


def accurate_tanh(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The values of ``tanh(x)``, as derived there, for what has a backward of its own.

    Under autodiff its slopes are those of the polynomials, not 1 − y².
    """
    if x.dtype == jnp.float64:
        return jnp.tanh(x)
    # tanh 10 is 1 already, and powers of more would overflow. The dearest of the arithmetic comes
    # once: what is divided is chosen first.
    a = jnp.minimum(jnp.abs(widen(x)), 10)
    small, square = a < 1, a * a
    q = reduce(lambda value, coefficient: value * a + coefficient, _EXP)
    above = jnp.where(small, a * square * (3465 + (189 + square) * square), 2)
    below = jnp.where(small, 10395 + (4725 + (210 + square) * square) * square, 1 + q * q)
    y = jnp.where(small, a, 1) - above / below
    # At 0 itself: −0 keeps its sign, and |x| has no slope there for who differentiates this.
    return jnp.where(x == 0, x, jnp.where(x < 0, -y, y).astype(x.dtype))


def sigmoid(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Logistic function, y = 1 / (1 + exp(−x)), elementwise.

    Derivation. Elementwise, so d(loss) = sum dy · y'(x) dx. By the chain rule on y = 1/u with
    u = 1 + e, e = exp(−x), e' = −e, and with 1 − y = e/u::

        y' = −u'/u² = e / u² = (1/u) · (e/u) = y (1 − y)       hence   dx = y (1 − y) dy

    The output alone is enough, so the input need not be kept.

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
    """``sigmoid(x)`` and its residual: the output."""
    y = sigmoid(x)
    return y, y


def sigmoid_bwd(
    y: Float[Array, "*shape"], dy: Float[Array, "*shape"]
) -> tuple[Float[Array, "*shape"]]:
    """dx = y (1 − y) dy."""
    return (y * (1 - y) * dy,)


def relu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Rectifier, y = max(x, 0), elementwise.

    Derivation. Elementwise, so d(loss) = sum dy · y'(x) dx. The slope is 1 where x > 0 and 0
    where x < 0; at 0 every number in [0, 1] is a subgradient, and 0 is taken, as PyTorch does
    (the gradient of ``jnp.maximum`` would be ½)::

        dx = dy where x > 0, else 0

    x > 0 exactly where y > 0, so the output alone is enough. A NaN stays a NaN, forwards and
    backwards.

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
    """``relu(x)`` and its residual: the output, which the next layer keeps anyway."""
    y = relu(x)
    return y, y


def relu_bwd(
    y: Float[Array, "*shape"], dy: Float[Array, "*shape"]
) -> tuple[Float[Array, "*shape"]]:
    """dx = dy where y > 0, else 0."""
    return (jnp.where(y <= 0, jnp.zeros_like(dy), dy),)


def gelu(x: Float[Array, "*shape"], *, approximate: bool) -> Float[Array, "*shape"]:
    """Gaussian error linear unit, y = x Φ(x), elementwise; exact, or with tanh for Φ.

    Φ is the cumulative distribution of N(0, 1), φ = Φ' its density. The approximation ("NewGELU"
    in makemore) puts ½ (1 + tanh u) for Φ, with u = √(2/π) (x + 0.044715 x³). They differ by up
    to 4.7e-4, so the choice has no default (PyTorch's is the exact form, JAX's the tanh form).

    Derivation. Elementwise, so d(loss) = sum dy · y'(x) dx, and by the product rule
    y' = Φ + x Φ'.

    Exact: Φ(x) = ½ erfc(−x/√2), and by the fundamental theorem of calculus on its integral::

        Φ' = φ(x) = exp(−x²/2) / √(2π)                 dx = (Φ + x φ) dy

    Tanh: ½ (1 + tanh u) = 1 / (1 + exp(−2u)) = σ(2u), which loses no digit where tanh u is near
    −1. By the chain rule with σ' = σ (1 − σ) (see ``sigmoid``) and 1 − σ(2u) = σ(−2u)::

        Φ' = σ(2u) σ(−2u) 2u',   2u' = 2 √(2/π) (1 + 3 · 0.044715 x²)

        dx = (σ(2u) + x σ(2u) σ(−2u) 2u') dy

    Of σ(2u) and σ(−2u) the larger is 1/(1 + e) with e = exp(−|2u|), and the other e times that:
    one exponential and one division for both.

    dy is multiplied into both terms, for one rounding less than their sum times dy has.

    Args:
        x: any shape, float64, float32, bfloat16 or float16.
        approximate: True for the tanh form, False for the exact one.

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
    """``gelu(x)`` and its residual: the input.

    y does not tell x (two inputs share each y in (−0.17, 0)). Φ is computed again from x: one
    exp or erfc an element, against another array of x's size kept for the whole backward pass.
    """
    return gelu(x, approximate=approximate), x


def gelu_bwd(
    x: Float[Array, "*shape"], dy: Float[Array, "*shape"], *, approximate: bool
) -> tuple[Float[Array, "*shape"]]:
    """dx = (Φ + x Φ') dy."""
    dy_wide = widen(dy)
    # Beyond ±40 Φ' is zero to the last digit; without the clip x² would overflow, and 0 · inf.
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
    # erfc, for 1 + erf would lose every digit where x is well below zero.
    return 0.5 * lax.erfc(-x * _SQRT_HALF)


def _twice_u(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return _SLOPE * (x + _CUBIC * x * x * x)
