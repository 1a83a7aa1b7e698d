"""The plain recurrent cell, one step in time."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmore.rules._activations import accurate_tanh, tanh_bwd
from jaxmore.rules._linear import linear, linear_bwd
from jaxmore.rules._precision import widen


class RnnCellResiduals(NamedTuple):
    """The input, the states before and after, and the weight (a parameter: no copy).

    tanh needs its output alone, which is the next state: through time nothing is kept but
    inputs and states. [x, h] is put together again, a copy of E + H numbers a row.
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
    """One step of the plain recurrent network: h' = tanh([x, h] W + b).

    Derivation. With a = [x, h] W + b and W's rows cut in Wx (the first E) and Wh (the other H),
    a = x Wx + h Wh + b. By the derivative of tanh (see ``tanh``) and the product rule (see
    ``linear``), each factor moved over by tr's cyclic rule::

        da = (1 − h'²) dh'
        dx = da Wxᵀ        dh = da Whᵀ        dW = [xᵀ da; hᵀ da]        db = sum of da over rows

    Through time dh is added to the cotangent that h has from elsewhere (its own output), and
    dW, db are sums over the steps: the same parameter is used in each.

    Args:
        x: (*B, E), the input of this step.
        h: (*B, H), the state before.
        weight: (E + H, H), rows for x first.
        bias: (H,).

    Returns:
        h' (*B, H), the dtype of h; computed in at least float32.

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
    """``rnn_cell(x, h, weight, bias)`` and its residuals."""
    xh = jnp.concatenate([widen(x), widen(h)], axis=-1)
    h_new = accurate_tanh(linear(xh, weight, bias)).astype(h.dtype)
    return h_new, RnnCellResiduals(x, h, h_new, weight)


def rnn_cell_bwd(
    res: RnnCellResiduals, dh_new: Float[Array, "*B H"]
) -> tuple[Float[Array, "*B E"], Float[Array, "*B H"], Float[Array, "EH H"], Float[Array, " H"]]:
    """da = (1 − h'²) dh', dx = da Wxᵀ, dh = da Whᵀ, dW = [x, h]ᵀ da, db = Σ da."""
    x, h, h_new, weight = res
    n_in = x.shape[-1]
    xh = jnp.concatenate([widen(x), widen(h)], axis=-1)
    (da,) = tanh_bwd(widen(h_new), widen(dh_new))
    dxh, dweight, dbias = linear_bwd((xh, weight), da)
    dx, dh = dxh[..., :n_in].astype(x.dtype), dxh[..., n_in:].astype(h.dtype)
    return dx, dh, dweight, dbias
