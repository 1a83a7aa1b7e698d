"""Affine maps: a matrix product and a bias."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxmore.rules._precision import accumulator
from jaxmore.rules._recompute import recompute_after
from jaxmore.rules._reductions import sum_rows


class LinearResiduals(NamedTuple):
    """The input and the weight (a parameter, so no copy). The gradient does not need the bias."""

    x: Float[Array, "*B I"]
    weight: Float[Array, "I O"]


def linear(
    x: Float[Array, "*B I"], weight: Float[Array, "I O"], bias: Float[Array, " O"] | None = None
) -> Float[Array, "*B O"]:
    """Apply an affine map to the last axis: y = x W + b.

    Derivation. Merge the leading axes into one of n rows. The product rule on y = x W + 1 b, where
    1 is the column of n ones that broadcasts b, gives dY = dX W + x dW + 1 db. With the inner
    product <A, C> = tr(Aᵀ C), the cyclic property of the trace moves each factor across::

        d(loss) = <dy, dX W> + <dy, x dW> + <dy, 1 db>
                = <dy Wᵀ, dX> + <xᵀ dy, dW> + <1ᵀ dy, db>

        dx = dy Wᵀ          dweight = xᵀ dy          dbias = 1ᵀ dy = sum of dy over the rows

    The sum in dbias is the transpose of the broadcast in the forward pass.

    Args:
        x: (*B, I), with any number of leading axes.
        weight: (I, O).
        bias: (O,), or None for no bias.

    Returns:
        y (*B, O), with the dtype of x. Products accumulate in at least float32.

    Source: Petersen & Pedersen, The Matrix Cookbook (2012), section 2.5.

    >>> import jax.numpy as jnp
    >>> y, residuals = linear_fwd(jnp.array([[1.0, 2.0]]), jnp.ones((2, 3)), jnp.zeros(3))
    >>> dx, dweight, dbias = linear_bwd(residuals, jnp.array([[1.0, 0.0, 2.0]]))
    >>> dx.tolist(), dweight.tolist(), dbias.tolist()
    ([[3.0, 3.0]], [[1.0, 0.0, 2.0], [2.0, 0.0, 4.0]], [1.0, 0.0, 2.0])
    """
    y = jnp.matmul(x, weight, preferred_element_type=accumulator(x.dtype))
    if bias is not None:
        y = y + bias.astype(y.dtype)
    return y.astype(x.dtype)


def linear_fwd(
    x: Float[Array, "*B I"], weight: Float[Array, "I O"], bias: Float[Array, " O"] | None = None
) -> tuple[Float[Array, "*B O"], LinearResiduals]:
    """Return ``linear(x, weight, bias)`` and its residuals."""
    return linear(x, weight, bias), LinearResiduals(x, weight)


def linear_bwd(
    res: LinearResiduals | tuple[Float[Array, "*B I"], Float[Array, "I O"]],
    dy: Float[Array, "*B O"],
) -> tuple[Float[Array, "*B I"], Float[Array, "I O"], Float[Array, " O"]]:
    """Compute dx = dy Wᵀ, dweight = xᵀ dy and dbias = Σ dy; ignore dbias if there is no bias.

    The other two wait for dbias, which is therefore always computed. As a consequence, a NaN in dy,
    which makes dweight and dbias NaN, also makes every row of dx NaN.
    """
    x, weight = res
    dbias = sum_rows(dy)
    dy = recompute_after(dbias, dy)  # else XLA delays the sum and keeps dy alive
    wide = accumulator(dy.dtype)
    dx = jnp.matmul(dy, weight.T, preferred_element_type=wide)
    rows, drows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    if dy.shape[-1] < min(rows.shape):
        # XLA's CPU matrix product is slow if the last axis of the result is the shortest of the
        # three, so compute xᵀ dy as (dyᵀ x)ᵀ. The barrier stops XLA from undoing the transposition.
        dweight = lax.optimization_barrier(jnp.matmul(drows.T, rows, preferred_element_type=wide)).T
    else:
        dweight = jnp.matmul(rows.T, drows, preferred_element_type=wide)
    return dx.astype(x.dtype), dweight.astype(weight.dtype), dbias.astype(weight.dtype)
