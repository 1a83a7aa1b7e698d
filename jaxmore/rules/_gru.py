"""The gated recurrent unit in makemore's form: one time step."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmore.rules._activations import accurate_tanh, sigmoid, sigmoid_bwd, tanh_bwd
from jaxmore.rules._linear import linear, linear_bwd
from jaxmore.rules._precision import widen


class GruCellResiduals(NamedTuple):
    """The input, the previous state, both gates, the candidate, and the weights (no copies).

    z, r and ĥ are outputs of activations, whose derivatives need nothing else. Recomputing them
    would repeat the matrix products of the forward pass. [x, h] and [x, r·h] are concatenated
    again.
    """

    x: Float[Array, "*B E"]
    h: Float[Array, "*B H"]
    z: Float[Array, "*B H"]
    r: Float[Array, "*B H"]
    h_hat: Float[Array, "*B H"]
    w_z: Float[Array, "EH H"]
    w_r: Float[Array, "EH H"]
    w_h: Float[Array, "EH H"]


def gru_cell(
    x: Float[Array, "*B E"],
    h: Float[Array, "*B H"],
    w_z: Float[Array, "EH H"],
    b_z: Float[Array, " H"],
    w_r: Float[Array, "EH H"],
    b_r: Float[Array, " H"],
    w_h: Float[Array, "EH H"],
    b_h: Float[Array, " H"],
) -> Float[Array, "*B H"]:
    """Compute one step of the gated recurrent unit in makemore's form.

    With the logistic function σ, the update gate z, the reset gate r and the candidate ĥ::

        z = σ([x, h] W_z + b_z)        r = σ([x, h] W_r + b_r)
        ĥ = tanh([x, r·h] W_h + b_h)   h' = (1 − z) h + z ĥ

    (PyTorch's GRU is a different cell: it applies r after the matrix product, and swaps z and
    1 − z.)

    Derivation. Let a_z, a_r, a_h be the three pre-activations, and split the rows of each W into
    Wx (the first E) and Wh (the last H). By the product rule on h'::

        dz = (ĥ − h) dh'           dĥ = z dh'           dh = (1 − z) dh'     (first part)

    By the derivatives of tanh and σ in terms of their outputs (see ``tanh``, ``sigmoid``), and by
    the product rule on r·h, whose cotangent passes through W_h::

        da_h = (1 − ĥ²) dĥ         d(r·h) = da_h W_h,hᵀ
        dr = h d(r·h)              dh += r d(r·h)
        da_z = z (1 − z) dz        da_r = r (1 − r) dr
        dh += da_z W_z,hᵀ + da_r W_r,hᵀ

    And as in ``linear``, moving each factor to the other side by the cyclic property of the trace::

        dx = da_z W_z,xᵀ + da_r W_r,xᵀ + da_h W_h,xᵀ
        dW_z = [x, h]ᵀ da_z        dW_r = [x, h]ᵀ da_r        dW_h = [x, r·h]ᵀ da_h
        db_z, db_r, db_h = the sums of da_z, da_r, da_h over the rows

    Args:
        x: (*B, E), the input of this step.
        h: (*B, H), the previous state.
        w_z: (E + H, H), with the rows for x first.
        b_z: (H,).
        w_r: (E + H, H), as w_z.
        b_r: (H,), as b_z.
        w_h: (E + H, H), as w_z; its last H rows multiply r·h.
        b_h: (H,), as b_z.

    Returns:
        h' (*B, H), with the dtype of h, computed in at least float32.

    Source: Cho et al., Learning phrase representations (2014), in makemore's form (GRUCell).

    >>> import jax.numpy as jnp
    >>> x, h, zero = jnp.ones((1, 2)), jnp.full((1, 1), 0.5), jnp.zeros(1)
    >>> w = jnp.zeros((3, 1))
    >>> gru_cell(x, h, w, zero, w, zero, w, zero).tolist()  # z = r = ½, ĥ = 0
    [[0.25]]
    """
    return gru_cell_fwd(x, h, w_z, b_z, w_r, b_r, w_h, b_h)[0]


def gru_cell_fwd(
    x: Float[Array, "*B E"],
    h: Float[Array, "*B H"],
    w_z: Float[Array, "EH H"],
    b_z: Float[Array, " H"],
    w_r: Float[Array, "EH H"],
    b_r: Float[Array, " H"],
    w_h: Float[Array, "EH H"],
    b_h: Float[Array, " H"],
) -> tuple[Float[Array, "*B H"], GruCellResiduals]:
    """Return ``gru_cell(x, h, ...)`` and its residuals.

    (On a CPU, one matrix product for both gates was no faster than two.)
    """
    dtype, x_wide, state = h.dtype, widen(x), widen(h)
    xh = jnp.concatenate([x_wide, state], axis=-1)
    z = sigmoid(linear(xh, w_z, b_z))
    r = sigmoid(linear(xh, w_r, b_r))
    xrh = jnp.concatenate([x_wide, r * state], axis=-1)
    h_hat = accurate_tanh(linear(xrh, w_h, b_h))
    h_new = ((1 - z) * state + z * h_hat).astype(dtype)
    kept = z.astype(dtype), r.astype(dtype), h_hat.astype(dtype)
    return h_new, GruCellResiduals(x, h, *kept, w_z, w_r, w_h)


def gru_cell_bwd(
    res: GruCellResiduals, dh_new: Float[Array, "*B H"]
) -> tuple[
    Float[Array, "*B E"],
    Float[Array, "*B H"],
    Float[Array, "EH H"],
    Float[Array, " H"],
    Float[Array, "EH H"],
    Float[Array, " H"],
    Float[Array, "EH H"],
    Float[Array, " H"],
]:
    """Compute (dx, dh, dw_z, db_z, dw_r, db_r, dw_h, db_h) as derived in ``gru_cell``."""
    x_wide, state, z, r, h_hat, w_z, w_r, w_h = (widen(a) for a in res)
    n_in, dnew = x_wide.shape[-1], widen(dh_new)
    xh = jnp.concatenate([x_wide, state], axis=-1)
    xrh = jnp.concatenate([x_wide, r * state], axis=-1)
    (da_h,) = tanh_bwd(h_hat, z * dnew)
    dxrh, dw_h, db_h = linear_bwd((xrh, w_h), da_h)
    drh = dxrh[..., n_in:]
    (da_z,) = sigmoid_bwd(z, (h_hat - state) * dnew)
    (da_r,) = sigmoid_bwd(r, state * drh)
    dxh_z, dw_z, db_z = linear_bwd((xh, w_z), da_z)
    dxh_r, dw_r, db_r = linear_bwd((xh, w_r), da_r)
    dxh = dxh_z + dxh_r
    dx = (dxh[..., :n_in] + dxrh[..., :n_in]).astype(res.x.dtype)
    dh = ((1 - z) * dnew + r * drh + dxh[..., n_in:]).astype(res.h.dtype)
    dtype = res.w_z.dtype
    dw_z, dw_r, dw_h = dw_z.astype(dtype), dw_r.astype(dtype), dw_h.astype(dtype)
    db_z, db_r, db_h = db_z.astype(dtype), db_r.astype(dtype), db_h.astype(dtype)
    return dx, dh, dw_z, db_z, dw_r, db_r, dw_h, db_h
