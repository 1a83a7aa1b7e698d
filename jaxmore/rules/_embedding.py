"""Embedding: rows of a table, picked by integer ids."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxmore.rules._precision import accumulator


class EmbeddingResiduals(NamedTuple):
    """The ids; and the table itself, for its shape and dtype only (no copy: it is a parameter)."""

    ids: Int[Array, "*shape"]
    weight: Float[Array, "V E"]


def embedding(ids: Int[Array, "*shape"], weight: Float[Array, "V E"]) -> Float[Array, "*shape E"]:
    """Look up rows: y[..., :] = weight[ids[...], :].

    Derivation. A look-up is a product with the one-hot matrix P, P[p, v] = 1 if ids[p] = v
    (p runs over all positions): y = P · weight, so d(loss) = <dy, P · dW> = <Pᵀ dy, dW> and::

        dweight[v] = sum over positions p with ids[p] = v of dy[p]        (= Pᵀ dy)

    A row that is picked twice collects both cotangents (hence add, not set), and a row that is
    never picked has gradient exactly zero. Ids have no cotangent.

    Args:
        ids: integers in [0, V), any shape. Check them before ``jit``: JAX clamps an id that is
            too large and takes −1 for the last row, silently.
        weight: the table (V, E).

    Returns:
        y (*ids.shape, E), in the dtype of weight.

    Source: Bengio et al., A Neural Probabilistic Language Model (JMLR 2003), the matrix C.

    >>> import jax.numpy as jnp
    >>> _, residuals = embedding_fwd(jnp.array([2, 0, 2]), jnp.ones((4, 1)))
    >>> _, dweight = embedding_bwd(residuals, jnp.array([[1.0], [10.0], [100.0]]))
    >>> dweight[:, 0].tolist()
    [10.0, 0.0, 101.0, 0.0]
    """
    # int32: JAX adds V to the ids to find the negative ones, and int8 cannot hold 128 or more.
    return weight[ids.astype(jnp.int32)]


def embedding_fwd(
    ids: Int[Array, "*shape"], weight: Float[Array, "V E"]
) -> tuple[Float[Array, "*shape E"], EmbeddingResiduals]:
    """``embedding(ids, weight)`` and its residuals."""
    return embedding(ids, weight), EmbeddingResiduals(ids, weight)


def embedding_bwd(
    res: EmbeddingResiduals, dy: Float[Array, "*shape E"]
) -> tuple[None, Float[Array, "V E"]]:
    """dweight[v] = sum of dy over the positions that hold v: one scatter-add, no loop."""
    ids, weight = res
    wide = accumulator(weight.dtype)
    # A scatter-add beat the one-hot product Pᵀ dy three times over on a CPU, at every V.
    rows = ids.astype(jnp.int32)
    dweight = jnp.zeros_like(weight, wide).at[rows].add(dy.astype(wide))
    return None, dweight.astype(weight.dtype)
