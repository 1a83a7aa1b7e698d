"""A GRU through three time steps, unrolled into its smallest steps, with the cotangent of each.

The network is makemore's GRU: embeddings, the gated recurrent unit with a learned first state, and
logits from the state after each character. The names of a variable's steps end in 1, 2 and 3.
:func:`backward` mirrors :func:`forward` line by line, last line first: backpropagation through
time.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Parameters(NamedTuple):
    """The ten parameters. In Wz, Wr and Wh the first E rows are for x, the last H for the state."""

    C: Float[Array, "V E"]
    start: Float[Array, " H"]
    Wz: Float[Array, "EH H"]
    bz: Float[Array, " H"]
    Wr: Float[Array, "EH H"]
    br: Float[Array, " H"]
    Wh: Float[Array, "EH H"]
    bh: Float[Array, " H"]
    Wout: Float[Array, "H V"]
    bout: Float[Array, " V"]


class Intermediates(NamedTuple):
    """The intermediates of the forward pass in order, and the loss."""

    emb: Float[Array, "B T E"]
    h0: Float[Array, "B H"]
    xh1: Float[Array, "B EH"]
    az1: Float[Array, "B H"]
    z1: Float[Array, "B H"]
    ar1: Float[Array, "B H"]
    r1: Float[Array, "B H"]
    xrh1: Float[Array, "B EH"]
    ah1: Float[Array, "B H"]
    hhat1: Float[Array, "B H"]
    h1: Float[Array, "B H"]
    xh2: Float[Array, "B EH"]
    az2: Float[Array, "B H"]
    z2: Float[Array, "B H"]
    ar2: Float[Array, "B H"]
    r2: Float[Array, "B H"]
    xrh2: Float[Array, "B EH"]
    ah2: Float[Array, "B H"]
    hhat2: Float[Array, "B H"]
    h2: Float[Array, "B H"]
    xh3: Float[Array, "B EH"]
    az3: Float[Array, "B H"]
    z3: Float[Array, "B H"]
    ar3: Float[Array, "B H"]
    r3: Float[Array, "B H"]
    xrh3: Float[Array, "B EH"]
    ah3: Float[Array, "B H"]
    hhat3: Float[Array, "B H"]
    h3: Float[Array, "B H"]
    hs: Float[Array, "B T H"]
    logits: Float[Array, "B T V"]
    loss: Float[Array, ""]


class Cotangents(NamedTuple):
    """The 41 cotangents, d(loss)/d(name), in the order of the backward pass."""

    logits: Float[Array, "B T V"]
    hs: Float[Array, "B T H"]
    Wout: Float[Array, "H V"]
    bout: Float[Array, " V"]
    h3: Float[Array, "B H"]
    hhat3: Float[Array, "B H"]
    z3: Float[Array, "B H"]
    ah3: Float[Array, "B H"]
    xrh3: Float[Array, "B EH"]
    r3: Float[Array, "B H"]
    ar3: Float[Array, "B H"]
    az3: Float[Array, "B H"]
    xh3: Float[Array, "B EH"]
    h2: Float[Array, "B H"]
    hhat2: Float[Array, "B H"]
    z2: Float[Array, "B H"]
    ah2: Float[Array, "B H"]
    xrh2: Float[Array, "B EH"]
    r2: Float[Array, "B H"]
    ar2: Float[Array, "B H"]
    az2: Float[Array, "B H"]
    xh2: Float[Array, "B EH"]
    h1: Float[Array, "B H"]
    hhat1: Float[Array, "B H"]
    z1: Float[Array, "B H"]
    ah1: Float[Array, "B H"]
    xrh1: Float[Array, "B EH"]
    r1: Float[Array, "B H"]
    ar1: Float[Array, "B H"]
    az1: Float[Array, "B H"]
    xh1: Float[Array, "B EH"]
    h0: Float[Array, "B H"]
    start: Float[Array, " H"]
    Wz: Float[Array, "EH H"]
    bz: Float[Array, " H"]
    Wr: Float[Array, "EH H"]
    br: Float[Array, " H"]
    Wh: Float[Array, "EH H"]
    bh: Float[Array, " H"]
    emb: Float[Array, "B T E"]
    C: Float[Array, "V E"]


@jax.jit
def forward(params: Parameters, X: Int[Array, "B 3"], Y: Int[Array, "B 3"]) -> Intermediates:
    """Compute every intermediate of the network, and its loss.

    Args:
        params: the parameters, in JAX's default float dtype.
        X: (B, 3) characters, ids in [0, V).
        Y: (B, 3), the character that follows each, ids in [0, V).

    Returns:
        The intermediates, in the same dtype.

    Source: Cho et al., Learning phrase representations (2014), in makemore's form (GRUCell).
    """
    (B, T), V = X.shape, params.C.shape[0]
    H, n = len(params.start), B * T

    emb = params.C[X]  # the characters of each name as vectors
    h0 = jnp.broadcast_to(params.start, (B, H))  # every name starts from the same state
    # Step 1
    xh1 = jnp.concatenate([emb[:, 0], h0], 1)
    az1 = xh1 @ params.Wz + params.bz
    z1 = jax.nn.sigmoid(az1)  # the update gate
    ar1 = xh1 @ params.Wr + params.br
    r1 = jax.nn.sigmoid(ar1)  # the reset gate
    xrh1 = jnp.concatenate([emb[:, 0], r1 * h0], 1)
    ah1 = xrh1 @ params.Wh + params.bh
    hhat1 = jnp.tanh(ah1)  # the candidate
    h1 = (1 - z1) * h0 + z1 * hhat1
    # Step 2
    xh2 = jnp.concatenate([emb[:, 1], h1], 1)
    az2 = xh2 @ params.Wz + params.bz
    z2 = jax.nn.sigmoid(az2)  # the update gate
    ar2 = xh2 @ params.Wr + params.br
    r2 = jax.nn.sigmoid(ar2)  # the reset gate
    xrh2 = jnp.concatenate([emb[:, 1], r2 * h1], 1)
    ah2 = xrh2 @ params.Wh + params.bh
    hhat2 = jnp.tanh(ah2)  # the candidate
    h2 = (1 - z2) * h1 + z2 * hhat2
    # Step 3
    xh3 = jnp.concatenate([emb[:, 2], h2], 1)
    az3 = xh3 @ params.Wz + params.bz
    z3 = jax.nn.sigmoid(az3)  # the update gate
    ar3 = xh3 @ params.Wr + params.br
    r3 = jax.nn.sigmoid(ar3)  # the reset gate
    xrh3 = jnp.concatenate([emb[:, 2], r3 * h2], 1)
    ah3 = xrh3 @ params.Wh + params.bh
    hhat3 = jnp.tanh(ah3)  # the candidate
    h3 = (1 - z3) * h2 + z3 * hhat3
    # Logits from the state after each character, and the mean cross-entropy of all n
    hs = jnp.stack([h1, h2, h3], 1)
    logits = hs @ params.Wout + params.bout
    loss = -(jax.nn.one_hot(Y, V) * jax.nn.log_softmax(logits, -1)).sum() / n

    return Intermediates(
        emb, h0, xh1, az1, z1, ar1, r1, xrh1, ah1, hhat1, h1, xh2, az2, z2, ar2, r2, xrh2,
        ah2, hhat2, h2, xh3, az3, z3, ar3, r3, xrh3, ah3, hhat3, h3, hs, logits, loss,
    )  # fmt: skip


@jax.jit
def backward(
    params: Parameters, X: Int[Array, "B 3"], Y: Int[Array, "B 3"], values: Intermediates
) -> Cotangents:
    """Compute every cotangent of the network, one line for each variable.

    A step is the same for every t, and so are its backward lines, derived at step 3. What ties the
    steps together is the sum over all uses of a variable. The state h_t is read out by the logits,
    and three lines of step t + 1 use it (h, xrh and xh, which feeds both gates), so

        dh_t = dhs_t + (1 − z) dh + r d(r·h_t) + the last H columns of daz Wzᵀ + dar Wrᵀ

    with z, r, dh, daz and dar of step t + 1. This is why the steps go backwards: dh_t needs all of
    step t + 1. A weight is used at every step, and its cotangent is the sum of what each gives.

    Args:
        params: the parameters that made ``values``.
        X: (B, 3) characters.
        Y: (B, 3) targets.
        values: what :func:`forward` returned.

    Returns:
        The 41 cotangents, each in the shape and dtype of its variable.

    Source: Werbos, Backpropagation through time (1990); :func:`jaxmore.rules.gru_cell` derives the
    cell's backward in one step, and :class:`jaxmore.layers.ScanTime` the sum over time.
    """
    v = values
    (B, T), (V, E) = X.shape, params.C.shape
    n = B * T

    # loss = 1/n Σ (log Σ exp(logits) − logits[Y]): the slopes are softmax and one-hot
    dlogits = (jax.nn.softmax(v.logits, -1) - jax.nn.one_hot(Y, V)) / n
    # logits = hs @ Wout + bout: names and steps share Wout and bout, so both are summed over
    dhs = dlogits @ params.Wout.T
    dWout = (v.hs.mT @ dlogits).sum(0)
    dbout = dlogits.sum((0, 1))
    # Step 3
    # h3 is read out and has no next step
    dh3 = dhs[:, 2]
    # h3 = (1 − z3) h2 + z3 hhat3: the product rule
    dhhat3 = v.z3 * dh3
    dz3 = (v.hhat3 - v.h2) * dh3
    # hhat3 = tanh(ah3): 1 − tanh²
    dah3 = (1 - v.hhat3**2) * dhhat3
    # ah3 = xrh3 @ Wh + bh
    dxrh3 = dah3 @ params.Wh.T
    # xrh3 = [x3, r3 h2]: its last H columns are a product, and h2 is the other factor
    dr3 = v.h2 * dxrh3[:, E:]
    # r3 = σ(ar3), z3 = σ(az3): the slope of the logistic function is σ (1 − σ)
    dar3 = v.r3 * (1 - v.r3) * dr3
    daz3 = v.z3 * (1 - v.z3) * dz3
    # xh3 is used by both gates
    dxh3 = daz3 @ params.Wz.T + dar3 @ params.Wr.T
    # Step 2
    # h2 is read out, and three lines of step 3 use it: h3, xrh3 and xh3
    dh2 = dhs[:, 1] + (1 - v.z3) * dh3 + v.r3 * dxrh3[:, E:] + dxh3[:, E:]
    dhhat2 = v.z2 * dh2
    dz2 = (v.hhat2 - v.h1) * dh2
    dah2 = (1 - v.hhat2**2) * dhhat2
    dxrh2 = dah2 @ params.Wh.T
    dr2 = v.h1 * dxrh2[:, E:]
    dar2 = v.r2 * (1 - v.r2) * dr2
    daz2 = v.z2 * (1 - v.z2) * dz2
    dxh2 = daz2 @ params.Wz.T + dar2 @ params.Wr.T
    # Step 1
    # h1 is read out, and three lines of step 2 use it: h2, xrh2 and xh2
    dh1 = dhs[:, 0] + (1 - v.z2) * dh2 + v.r2 * dxrh2[:, E:] + dxh2[:, E:]
    dhhat1 = v.z1 * dh1
    dz1 = (v.hhat1 - v.h0) * dh1
    dah1 = (1 - v.hhat1**2) * dhhat1
    dxrh1 = dah1 @ params.Wh.T
    dr1 = v.h0 * dxrh1[:, E:]
    dar1 = v.r1 * (1 - v.r1) * dr1
    daz1 = v.z1 * (1 - v.z1) * dz1
    dxh1 = daz1 @ params.Wz.T + dar1 @ params.Wr.T
    # h0 is not read out; it is the learned state, broadcast along the names
    dh0 = (1 - v.z1) * dh1 + v.r1 * dxrh1[:, E:] + dxh1[:, E:]
    dstart = dh0.sum(0)
    # Each weight and bias is used at every step
    dWz = v.xh1.T @ daz1 + v.xh2.T @ daz2 + v.xh3.T @ daz3
    dbz = (daz1 + daz2 + daz3).sum(0)
    dWr = v.xh1.T @ dar1 + v.xh2.T @ dar2 + v.xh3.T @ dar3
    dbr = (dar1 + dar2 + dar3).sum(0)
    dWh = v.xrh1.T @ dah1 + v.xrh2.T @ dah2 + v.xrh3.T @ dah3
    dbh = (dah1 + dah2 + dah3).sum(0)
    # A character stands in xh and in xrh of its step, in the first E columns
    demb = jnp.stack([(dxh1 + dxrh1)[:, :E], (dxh2 + dxrh2)[:, :E], (dxh3 + dxrh3)[:, :E]], 1)
    # emb = C[X]: a row of C collects the cotangents of every place where it was used
    dC = jnp.zeros_like(params.C).at[X].add(demb)

    return Cotangents(
        dlogits, dhs, dWout, dbout, dh3, dhhat3, dz3, dah3, dxrh3, dr3, dar3, daz3, dxh3,
        dh2, dhhat2, dz2, dah2, dxrh2, dr2, dar2, daz2, dxh2, dh1, dhhat1, dz1, dah1, dxrh1,
        dr1, dar1, daz1, dxh1, dh0, dstart, dWz, dbz, dWr, dbr, dWh, dbh, demb, dC,
    )  # fmt: skip
