"""A transformer's attention in its smallest steps, with the cotangent of each step.

The network is makemore's transformer with one block, without the MLP, the last norm and the biases
of the linear layers: embeddings of the character and of its position, layer norm, causal
self-attention with two heads, a skip connection, and logits. :func:`backward` mirrors
:func:`forward` line by line, last line first.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

HEADS = 2


class Parameters(NamedTuple):
    """The nine parameters. E is a multiple of the number of heads."""

    C: Float[Array, "V E"]
    P: Float[Array, "T E"]
    gain: Float[Array, " E"]
    bias: Float[Array, " E"]
    Wq: Float[Array, "E E"]
    Wk: Float[Array, "E E"]
    Wv: Float[Array, "E E"]
    Wo: Float[Array, "E E"]
    Wout: Float[Array, "E V"]


class Intermediates(NamedTuple):
    """The intermediates of the forward pass in order, and the loss. N heads have width D = E/N."""

    x: Float[Array, "B T E"]
    lnmean: Float[Array, "B T 1"]
    lndiff: Float[Array, "B T E"]
    lnvar: Float[Array, "B T 1"]
    lnvar_inv: Float[Array, "B T 1"]
    lnraw: Float[Array, "B T E"]
    normed: Float[Array, "B T E"]
    q: Float[Array, "B T E"]
    k: Float[Array, "B T E"]
    v: Float[Array, "B T E"]
    qh: Float[Array, "B N T D"]
    kh: Float[Array, "B N T D"]
    vh: Float[Array, "B N T D"]
    scores: Float[Array, "B N T T"]
    masked: Float[Array, "B N T T"]
    probs: Float[Array, "B N T T"]
    heads: Float[Array, "B N T D"]
    joined: Float[Array, "B T E"]
    proj: Float[Array, "B T E"]
    y: Float[Array, "B T E"]
    logits: Float[Array, "B T V"]
    loss: Float[Array, ""]


class Cotangents(NamedTuple):
    """The 30 cotangents, d(loss)/d(name), in the order of the backward pass."""

    logits: Float[Array, "B T V"]
    y: Float[Array, "B T E"]
    Wout: Float[Array, "E V"]
    proj: Float[Array, "B T E"]
    joined: Float[Array, "B T E"]
    Wo: Float[Array, "E E"]
    heads: Float[Array, "B N T D"]
    probs: Float[Array, "B N T T"]
    vh: Float[Array, "B N T D"]
    masked: Float[Array, "B N T T"]
    scores: Float[Array, "B N T T"]
    qh: Float[Array, "B N T D"]
    kh: Float[Array, "B N T D"]
    q: Float[Array, "B T E"]
    k: Float[Array, "B T E"]
    v: Float[Array, "B T E"]
    Wq: Float[Array, "E E"]
    Wk: Float[Array, "E E"]
    Wv: Float[Array, "E E"]
    normed: Float[Array, "B T E"]
    gain: Float[Array, " E"]
    bias: Float[Array, " E"]
    lnraw: Float[Array, "B T E"]
    lnvar_inv: Float[Array, "B T 1"]
    lnvar: Float[Array, "B T 1"]
    lndiff: Float[Array, "B T E"]
    lnmean: Float[Array, "B T 1"]
    x: Float[Array, "B T E"]
    C: Float[Array, "V E"]
    P: Float[Array, "T E"]


@jax.jit
def forward(params: Parameters, X: Int[Array, "B T"], Y: Int[Array, "B T"]) -> Intermediates:
    """Compute every intermediate of the network, and its loss.

    Args:
        params: the parameters, in JAX's default float dtype.
        X: (B, T) characters, ids in [0, V).
        Y: (B, T), the character that follows each, ids in [0, V).

    Returns:
        The intermediates, in the same dtype.

    Source: Vaswani et al., Attention is all you need (2017); makemore.py, CausalSelfAttention.
    """
    (B, T), (V, E) = X.shape, params.C.shape
    N, D = HEADS, E // HEADS
    n, scale = B * T, float(D**-0.5)
    causal = jnp.tril(jnp.ones((T, T), bool))

    x = params.C[X] + params.P  # a vector for each character, and one for its position
    # Layer norm: the E numbers of each position, by their own mean and variance
    lnmean = x.mean(-1, keepdims=True)
    lndiff = x - lnmean
    lnvar = (lndiff**2).mean(-1, keepdims=True)
    lnvar_inv = (lnvar + 1e-5) ** -0.5
    lnraw = lndiff * lnvar_inv
    normed = params.gain * lnraw + params.bias
    # Queries, keys and values
    q = normed @ params.Wq
    k = normed @ params.Wk
    v = normed @ params.Wv
    # The E numbers split into N heads of D
    qh = q.reshape(B, T, N, D).swapaxes(1, 2)
    kh = k.reshape(B, T, N, D).swapaxes(1, 2)
    vh = v.reshape(B, T, N, D).swapaxes(1, 2)
    # Attention: how much position t takes from each position s <= t
    scores = qh @ kh.mT * scale
    masked = jnp.where(causal, scores, -1e30)
    probs = jax.nn.softmax(masked, -1)
    heads = probs @ vh
    # The heads side by side again, projected and added to what came in
    joined = heads.swapaxes(1, 2).reshape(B, T, E)
    proj = joined @ params.Wo
    y = x + proj
    # Cross-entropy: the mean over all n positions
    logits = y @ params.Wout
    loss = -(jax.nn.one_hot(Y, V) * jax.nn.log_softmax(logits, -1)).sum() / n

    return Intermediates(
        x, lnmean, lndiff, lnvar, lnvar_inv, lnraw, normed, q, k, v, qh, kh, vh, scores, masked,
        probs, heads, joined, proj, y, logits, loss,
    )  # fmt: skip


@jax.jit
def backward(
    params: Parameters, X: Int[Array, "B T"], Y: Int[Array, "B T"], values: Intermediates
) -> Cotangents:
    """Compute every cotangent of the network, one line for each variable.

    Matrix products act on the last two axes: for y = a b the cotangents are dy bᵀ and aᵀ dy, for
    each name (and head). A weight has no axis for the names, so its cotangent is summed over them.

    The softmax of a row s, p = exp(s) / Σ exp(s), has the Jacobian ∂p_i/∂s_j = p_i (δ_ij − p_j), so

        ds_j = Σ_i dp_i p_i (δ_ij − p_j) = p_j (dp_j − Σ_i dp_i p_i).

    Args:
        params: the parameters that made ``values``.
        X: (B, T) characters.
        Y: (B, T) targets.
        values: what :func:`forward` returned.

    Returns:
        The 30 cotangents, each in the shape and dtype of its variable.

    Source: as for ``forward``; :func:`jaxmore.rules.causal_attention` and
    :func:`jaxmore.rules.layer_norm` derive the same in one step each.
    """
    (B, T), (V, E) = X.shape, params.C.shape
    N, D = HEADS, E // HEADS
    n, scale = B * T, float(D**-0.5)
    causal = jnp.tril(jnp.ones((T, T), bool))

    # loss = 1/n Σ (log Σ exp(logits) − logits[Y]): the slopes are softmax and one-hot
    dlogits = (jax.nn.softmax(values.logits, -1) - jax.nn.one_hot(Y, V)) / n
    # logits = y @ Wout: the names share Wout, so their products are summed
    dy = dlogits @ params.Wout.T
    dWout = (values.y.mT @ dlogits).sum(0)
    # y = x + proj: a sum hands its cotangent on to each term
    dproj = dy
    # proj = joined @ Wo
    djoined = dproj @ params.Wo.T
    dWo = (values.joined.mT @ dproj).sum(0)
    # joined = heads, moved: the same numbers go back to where they came from
    dheads = djoined.reshape(B, T, N, D).swapaxes(1, 2)
    # heads = probs @ vh
    dprobs = dheads @ values.vh.mT
    dvh = values.probs.mT @ dheads
    # probs = softmax(masked): dprobs less its mean weighted by probs, all times probs
    dmasked = values.probs * (dprobs - (dprobs * values.probs).sum(-1, keepdims=True))
    # masked = scores where causal, else a constant: nothing flows to a masked score
    dscores = jnp.where(causal, dmasked, 0)
    # scores = qh @ kh.mT * scale: for the second factor it is (qhᵀ dscores)ᵀ = dscoresᵀ qh
    dqh = dscores @ values.kh * scale
    dkh = dscores.mT @ values.qh * scale
    # qh, kh, vh = q, k, v, moved
    dq = dqh.swapaxes(1, 2).reshape(B, T, E)
    dk = dkh.swapaxes(1, 2).reshape(B, T, E)
    dv = dvh.swapaxes(1, 2).reshape(B, T, E)
    # q, k, v = normed @ Wq, normed @ Wk, normed @ Wv: normed is used three times
    dWq = (values.normed.mT @ dq).sum(0)
    dWk = (values.normed.mT @ dk).sum(0)
    dWv = (values.normed.mT @ dv).sum(0)
    dnormed = dq @ params.Wq.T + dk @ params.Wk.T + dv @ params.Wv.T
    # normed = gain * lnraw + bias: gain and bias were broadcast along names and positions
    dgain = (dnormed * values.lnraw).sum((0, 1))
    dbias = dnormed.sum((0, 1))
    dlnraw = dnormed * params.gain
    # lnraw = lndiff * lnvar_inv: lnvar_inv was broadcast along E
    dlnvar_inv = (dlnraw * values.lndiff).sum(-1, keepdims=True)
    # lnvar_inv = (lnvar + eps) ** −½: the power rule
    dlnvar = -0.5 * (values.lnvar + 1e-5) ** -1.5 * dlnvar_inv
    # lnvar = 1/E Σ lndiff²; lndiff is also used in lnraw
    dlndiff = dlnraw * values.lnvar_inv + 2 / E * values.lndiff * dlnvar
    # lndiff = x − lnmean: lnmean was broadcast along E, with a minus sign
    dlnmean = -dlndiff.sum(-1, keepdims=True)
    # x is used three times: in y, in lndiff, and in lnmean, whose share is 1/E for each number
    dx = dy + dlndiff + dlnmean / E
    # x = C[X] + P: a row of C collects from every place where it was used, P from every name
    dC = jnp.zeros_like(params.C).at[X].add(dx)
    dP = dx.sum(0)

    return Cotangents(
        dlogits, dy, dWout, dproj, djoined, dWo, dheads, dprobs, dvh, dmasked, dscores, dqh, dkh,
        dq, dk, dv, dWq, dWk, dWv, dnormed, dgain, dbias, dlnraw, dlnvar_inv, dlnvar, dlndiff,
        dlnmean, dx, dC, dP,
    )  # fmt: skip
