"""The long short-term memory cell: one time step."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmore.rules._activations import accurate_tanh, sigmoid
from jaxmore.rules._linear import linear, linear_bwd
from jaxmore.rules._precision import widen


class LstmCellResiduals(NamedTuple):
    """The input, the states, the four gates after activation, and the weight (no copy).

    The backward pass recomputes tanh c' from c', which is saved anyway as the c of the next step.
    This costs one tanh per element and saves H numbers per row. The gates are four separate arrays,
    which avoids concatenating and splitting them.
    """

    x: Float[Array, "*B E"]
    h: Float[Array, "*B H"]
    c: Float[Array, "*B H"]
    i: Float[Array, "*B H"]
    f: Float[Array, "*B H"]
    g: Float[Array, "*B H"]
    o: Float[Array, "*B H"]
    c_new: Float[Array, "*B H"]
    weight: Float[Array, "EH G"]


def lstm_cell(
    x: Float[Array, "*B E"],
    h: Float[Array, "*B H"],
    c: Float[Array, "*B H"],
    weight: Float[Array, "EH G"],
    bias: Float[Array, " G"],
) -> tuple[Float[Array, "*B H"], Float[Array, "*B H"]]:
    """Compute one step of long short-term memory, with all four gates in one matrix product.

    With the logistic function σ, the input, forget and output gates i, f, o and the candidate g, in
    the order of PyTorch's LSTM::

        [a_i, a_f, a_g, a_o] = [x, h] W + b        i, f, o = σ(a_i), σ(a_f), σ(a_o)
        g = tanh(a_g)        c' = f c + i g        h' = o tanh(c')

    Derivation. c' receives its own cotangent dc' and another one through h'. By the product rule on
    h', with t = tanh c' and its derivative 1 − t²::

        do = t dh'           dc' += o (1 − t²) dh'

    By the product rule on c'::

        di = g dc'           df = c dc'           dg = i dc'           dc = f dc'

    By the derivatives of σ and tanh in terms of their outputs (see ``sigmoid``, ``tanh``)::

        da_i = i (1 − i) di  da_f = f (1 − f) df  da_g = (1 − g²) dg   da_o = o (1 − o) do

    With da = [da_i, da_f, da_g, da_o], and the rows of W split into Wx (the first E) and Wh (the
    last H), as in ``linear``::

        dx = da Wxᵀ          dh = da Whᵀ          dW = [x, h]ᵀ da      db = sum of da over rows

    Args:
        x: (*B, E), the input of this step.
        h: (*B, H), the previous state.
        c: (*B, H), the previous memory.
        weight: (E + H, 4H), with the rows for x first and columns in the order i, f, g, o.
        bias: (4H,).

    Returns:
        h' and c' (*B, H), with the dtypes of h and c, computed in at least float32.

    Source: Hochreiter & Schmidhuber (1997), with the forget gate of Gers et al. (2000).

    >>> import jax.numpy as jnp
    >>> x, h, c = jnp.ones((1, 2)), jnp.zeros((1, 1)), jnp.full((1, 1), 3.0)
    >>> _, c_new = lstm_cell(x, h, c, jnp.zeros((3, 4)), jnp.zeros(4))  # i = f = o = ½, g = 0
    >>> c_new.tolist()
    [[1.5]]
    """
    return lstm_cell_fwd(x, h, c, weight, bias)[0]


def lstm_cell_fwd(
    x: Float[Array, "*B E"],
    h: Float[Array, "*B H"],
    c: Float[Array, "*B H"],
    weight: Float[Array, "EH G"],
    bias: Float[Array, " G"],
) -> tuple[tuple[Float[Array, "*B H"], Float[Array, "*B H"]], LstmCellResiduals]:
    """Return ``lstm_cell(x, h, c, weight, bias)`` and its residuals."""
    xh = jnp.concatenate([widen(x), widen(h)], axis=-1)
    a_i, a_f, a_g, a_o = jnp.split(linear(xh, weight, bias), 4, axis=-1)
    i, f, g, o = sigmoid(a_i), sigmoid(a_f), accurate_tanh(a_g), sigmoid(a_o)
    c_new = (f * widen(c) + i * g).astype(c.dtype)
    h_new = (o * accurate_tanh(widen(c_new))).astype(h.dtype)
    i, f, g, o = (gate.astype(h.dtype) for gate in (i, f, g, o))
    return (h_new, c_new), LstmCellResiduals(x, h, c, i, f, g, o, c_new, weight)


def lstm_cell_bwd(
    res: LstmCellResiduals, dy: tuple[Float[Array, "*B H"], Float[Array, "*B H"]]
) -> tuple[
    Float[Array, "*B E"],
    Float[Array, "*B H"],
    Float[Array, "*B H"],
    Float[Array, "EH G"],
    Float[Array, " G"],
]:
    """Compute (dx, dh, dc, dweight, dbias) from dy = (dh', dc')."""
    x, h, c, i, f, g, o, c_new = (widen(a) for a in res[:-1])
    t, dh_new = accurate_tanh(c_new), widen(dy[0])
    dc_new = widen(dy[1]) + o * (1 - t * t) * dh_new
    da_i = i * (1 - i) * (g * dc_new)
    da_f = f * (1 - f) * (c * dc_new)
    da_g = (1 - g * g) * (i * dc_new)
    da_o = o * (1 - o) * (t * dh_new)
    da = jnp.concatenate([da_i, da_f, da_g, da_o], axis=-1)
    xh = jnp.concatenate([x, h], axis=-1)
    dxh, dweight, dbias = linear_bwd((xh, res.weight), da)
    dx, dh = jnp.split(dxh, [x.shape[-1]], axis=-1)
    dx, dh = dx.astype(res.x.dtype), dh.astype(res.h.dtype)
    return dx, dh, (f * dc_new).astype(res.c.dtype), dweight, dbias
