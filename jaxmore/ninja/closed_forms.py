"""Exercises 2 and 3 of "becoming a backprop ninja": several backward lines as one.

Each has two forms: the lecture's, and that of seed 001, which writes the Jacobian out.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def dlogits_closed(logits: Float[Array, "B V"], Y: Int[Array, " B"]) -> Float[Array, "B V"]:
    """Exercise 2, the lecture's form: dlogits = (softmax(logits) − onehot(Y)) / n.

    One step for the eight lines from logits to the loss. In loss = 1/n Σ (log Σ exp z − z[Y]),
    ∂/∂z_v log Σ exp z = p_v and ∂/∂z_v z[Y] = onehot(Y)_v.
    """
    return (jax.nn.softmax(logits) - jax.nn.one_hot(Y, logits.shape[1], dtype=logits.dtype)) * (
        1 / logits.shape[0]
    )


def dlogits_outer(logits: Float[Array, "B V"], Y: Int[Array, " B"]) -> Float[Array, "B V"]:
    """Exercise 2, seed 001's form: dlogits_v = 1/n Σ_u onehot(Y)_u p_v (1 − δ_uv / p_v).

    This form computes the whole Jacobian of −log softmax, V by V for each row,
    ∂(−log p_u)/∂z_v = −1/p_u · ∂p_u/∂z_v = p_v − δ_uv, and picks its row u = Y. It equals the other
    form: p_v Σ_u onehot_u = p_v and Σ_u onehot_u δ_uv = onehot_v. Where a probability underflows to
    zero this form gives 0/0, NaN, as the seed does; the other form does not.
    """
    n, n_classes = logits.shape
    probs = jax.nn.softmax(logits)
    picked = jax.nn.one_hot(Y, n_classes, dtype=logits.dtype)[:, :, None]
    eye = jnp.eye(n_classes, dtype=logits.dtype)
    return 1 / n * probs * (picked * (1 - eye / probs[:, :, None])).sum(1)


def dhprebn_closed(
    bngain: Float[Array, "1 H"],
    bnraw: Float[Array, "B H"],
    bnvar_inv: Float[Array, "1 H"],
    dhpreact: Float[Array, "B H"],
) -> Float[Array, "B H"]:
    """Exercise 3, the lecture's form, O(n): BatchNorm's backward in one step.

    dhprebn = bngain · bnvar_inv / n · (n dhpreact − Σ dhpreact − n/(n−1) bnraw Σ dhpreact bnraw).
    :func:`jaxmore.rules.batch_norm` derives it.
    """
    n = bnraw.shape[0]
    along_bnraw = (dhpreact * bnraw).sum(0)
    total = n * dhpreact - dhpreact.sum(0) - n / (n - 1) * bnraw * along_bnraw
    return bngain * bnvar_inv / n * total


def dhprebn_outer(
    bngain: Float[Array, "1 H"],
    bnraw: Float[Array, "B H"],
    bnvar_inv: Float[Array, "1 H"],
    dhpreact: Float[Array, "B H"],
) -> Float[Array, "B H"]:
    """Exercise 3, seed 001's form, O(n²): the normalisation's Jacobian, n by n, written out.

    ∂bnraw_i/∂hprebn_j = bnvar_inv (δ_ij − 1/n − bnraw_i bnraw_j / (n−1)) for every feature.
    """
    n = bnraw.shape[0]
    shared = 1 / n + 1 / (n - 1) * bnraw * bnraw[:, None]  # (n, n, H), symmetric in the rows
    return bngain * (dhpreact - (shared * dhpreact).sum(1)) * bnvar_inv
