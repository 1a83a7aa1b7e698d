"""Embedding: look up rows of a table by integer ids."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxmore.rules._precision import accumulator


class EmbeddingResiduals(NamedTuple):
    """The ids, and the table for its shape and dtype only (a parameter, so no copy)."""

    ids: Int[Array, "*shape"]
    weight: Float[Array, "V E"]


def embedding(ids: Int[Array, "*shape"], weight: Float[Array, "V E"]) -> Float[Array, "*shape E"]:
    """Look up rows of a table: y[..., :] = weight[ids[...], :].

    Derivation. A lookup is a product with the one-hot matrix P, where P[p, v] = 1 if ids[p] = v and
    p runs over all positions. From y = P · weight, d(loss) = <dy, P · dW> = <Pᵀ dy, dW> and::

        dweight[v] = sum over positions p with ids[p] = v of dy[p]        (= Pᵀ dy)

    A row that is used twice accumulates both cotangents (hence add, not set), and the gradient of a
    row that is never used is exactly zero. Ids have no cotangent.

    Args:
        ids: integers in [0, V), any shape. Check them before ``jit``: JAX silently clamps an id
            that is too large and reads the last row for −1.
        weight: the table (V, E).

    Returns:
        y (*ids.shape, E), with the dtype of weight.

    Source: Bengio et al., A Neural Probabilistic Language Model (JMLR 2003), the matrix C.

    >>> import jax.numpy as jnp
    >>> _, residuals = embedding_fwd(jnp.array([2, 0, 2]), jnp.ones((4, 1)))
    >>> _, dweight = embedding_bwd(residuals, jnp.array([[1.0], [10.0], [100.0]]))
    >>> dweight[:, 0].tolist()
    [10.0, 0.0, 101.0, 0.0]
    """
    # Index in int32: JAX adds V to negative ids, and int8 cannot hold 128 or more.
    return weight[ids.astype(jnp.int32)]


def embedding_fwd(
    ids: Int[Array, "*shape"], weight: Float[Array, "V E"]
) -> tuple[Float[Array, "*shape E"], EmbeddingResiduals]:
    """Return ``embedding(ids, weight)`` and its residuals."""
    return embedding(ids, weight), EmbeddingResiduals(ids, weight)


def embedding_bwd(
    res: EmbeddingResiduals, dy: Float[Array, "*shape E"]
) -> tuple[None, Float[Array, "V E"]]:
    """Compute dweight[v], the sum of dy over the positions that hold v, by one scatter-add."""
    ids, weight = res
    wide = accumulator(weight.dtype)
    # On a CPU, a scatter-add was three times as fast as the one-hot product Pᵀ dy, for every V.
    rows = ids.astype(jnp.int32)
    dweight = jnp.zeros_like(weight, wide).at[rows].add(dy.astype(wide))
    return None, dweight.astype(weight.dtype)
