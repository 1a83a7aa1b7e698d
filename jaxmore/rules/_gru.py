"""The gated recurrent unit in makemore's form, one step in time."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmore.rules._activations import accurate_tanh, sigmoid, sigmoid_bwd, tanh_bwd
from jaxmore.rules._linear import linear, linear_bwd
from jaxmore.rules._precision import widen


class GruCellResiduals(NamedTuple):
    """The input, the state before, two gates, the candidate, and the weights (no copies).

    z, r and ĥ are outputs of an activation, whose derivatives need nothing else; to recompute
    them would take the forward's matrix products again. [x, h] and [x, r·h] are put together
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
    """One step of the gated recurrent unit, in makemore's form.

    With σ the logistic function, the update gate z, the reset gate r and the candidate ĥ::

        z = σ([x, h] W_z + b_z)        r = σ([x, h] W_r + b_r)
        ĥ = tanh([x, r·h] W_h + b_h)   h' = (1 − z) h + z ĥ

    (PyTorch's GRU applies r after the matrix product and takes z for 1 − z: not the same cell.)

    Derivation. Write a_z, a_r, a_h for the three pre-activations and cut the rows of each W in
    Wx (the first E) and Wh (the other H). By the product rule on h'::

        dz = (ĥ − h) dh'           dĥ = z dh'           dh = (1 − z) dh'     (its first share)

    by the derivatives of tanh and σ from their outputs (see ``tanh``, ``sigmoid``), and by the
    product rule on r·h, whose cotangent comes back through W_h::

        da_h = (1 − ĥ²) dĥ         d(r·h) = da_h W_h,hᵀ
        dr = h d(r·h)              dh += r d(r·h)
        da_z = z (1 − z) dz        da_r = r (1 − r) dr
        dh += da_z W_z,hᵀ + da_r W_r,hᵀ

    and as for ``linear``, each factor moved over by tr's cyclic rule::

        dx = da_z W_z,xᵀ + da_r W_r,xᵀ + da_h W_h,xᵀ
        dW_z = [x, h]ᵀ da_z        dW_r = [x, h]ᵀ da_r        dW_h = [x, r·h]ᵀ da_h
        db_z, db_r, db_h: the sums of da_z, da_r, da_h over the rows

    Args:
        x: (*B, E), the input of this step.
        h: (*B, H), the state before.
        w_z: (E + H, H), rows for x first; w_r and w_h alike.
        b_z: (H,); b_r and b_h alike.
        w_r: see w_z.
        b_r: see b_z.
        w_h: see w_z; its last rows take r·h.
        b_h: see b_z.

    Returns:
        h' (*B, H), the dtype of h; computed in at least float32.

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
    """``gru_cell(x, h, ...)`` and its residuals.

    (One matrix product for both gates was no faster on a CPU than two.)
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
    """(dx, dh, dw_z, db_z, dw_r, db_r, dw_h, db_h), as derived in ``gru_cell``."""
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
