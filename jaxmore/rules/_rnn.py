"""The plain recurrent cell: one time step."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmore.rules._activations import accurate_tanh, tanh_bwd
from jaxmore.rules._linear import linear, linear_bwd
from jaxmore.rules._precision import widen


class RnnCellResiduals(NamedTuple):
    """The input, the previous and the new state, and the weight (a parameter, so no copy).

    The derivative of tanh needs only its output, which is the next state, so over time only inputs
    and states are saved. [x, h] is concatenated again, a copy of E + H numbers per row.
    """

    x: Float[Array, "*B E"]
    h: Float[Array, "*B H"]
    h_new: Float[Array, "*B H"]
    weight: Float[Array, "EH H"]


def rnn_cell(
    x: Float[Array, "*B E"],
    h: Float[Array, "*B H"],
    weight: Float[Array, "EH H"],
    bias: Float[Array, " H"],
) -> Float[Array, "*B H"]:
    """Compute one step of the plain recurrent network: h' = tanh([x, h] W + b).

    Derivation. Let a = [x, h] W + b, and split the rows of W into Wx (the first E) and Wh (the last
    H), so that a = x Wx + h Wh + b. By the derivative of tanh (see ``tanh``), the product rule and
    the cyclic property of the trace (see ``linear``)::

        da = (1 − h'²) dh'
        dx = da Wxᵀ        dh = da Whᵀ        dW = [xᵀ da; hᵀ da]        db = sum of da over rows

    Over time, dh adds to the cotangent that h receives elsewhere (as the output of its own step),
    and dW and db are sums over the steps, since every step uses the same parameters.

    Args:
        x: (*B, E), the input of this step.
        h: (*B, H), the previous state.
        weight: (E + H, H), with the rows for x first.
        bias: (H,).

    Returns:
        h' (*B, H), with the dtype of h, computed in at least float32.

    Source: Elman, Finding structure in time (1990), in makemore's form (RNNCell).

    >>> import jax.numpy as jnp
    >>> x, h = jnp.array([[0.5]]), jnp.array([[-0.25]])
    >>> h_new, residuals = rnn_cell_fwd(x, h, jnp.array([[1.0], [2.0]]), jnp.zeros(1))
    >>> dx, dh, dweight, dbias = rnn_cell_bwd(residuals, jnp.ones((1, 1)))
    >>> dx.tolist(), dh.tolist(), dweight.tolist(), dbias.tolist()
    ([[1.0]], [[2.0]], [[0.5], [-0.25]], [1.0])
    """
    return rnn_cell_fwd(x, h, weight, bias)[0]


def rnn_cell_fwd(
    x: Float[Array, "*B E"],
    h: Float[Array, "*B H"],
    weight: Float[Array, "EH H"],
    bias: Float[Array, " H"],
) -> tuple[Float[Array, "*B H"], RnnCellResiduals]:
    """Return ``rnn_cell(x, h, weight, bias)`` and its residuals."""
    xh = jnp.concatenate([widen(x), widen(h)], axis=-1)
    h_new = accurate_tanh(linear(xh, weight, bias)).astype(h.dtype)
    return h_new, RnnCellResiduals(x, h, h_new, weight)


def rnn_cell_bwd(
    res: RnnCellResiduals, dh_new: Float[Array, "*B H"]
) -> tuple[Float[Array, "*B E"], Float[Array, "*B H"], Float[Array, "EH H"], Float[Array, " H"]]:
    """Compute dx = da Wxᵀ, dh = da Whᵀ, dW = [x, h]ᵀ da and db = Σ da, with da = (1 − h'²) dh'."""
    x, h, h_new, weight = res
    n_in = x.shape[-1]
    xh = jnp.concatenate([widen(x), widen(h)], axis=-1)
    (da,) = tanh_bwd(widen(h_new), widen(dh_new))
    dxh, dweight, dbias = linear_bwd((xh, weight), da)
    dx, dh = dxh[..., :n_in].astype(x.dtype), dxh[..., n_in:].astype(h.dtype)
    return dx, dh, dweight, dbias
