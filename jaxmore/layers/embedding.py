"""Token and position embeddings."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array

from jaxmore import rules
from jaxmore.layers.base import Layer, Normal, Tree
from jaxmore.rules._precision import widen


@dataclass(frozen=True)
class Embedding(Layer):
    """Look up ids (*shape) in a table: (*shape, E)."""

    n_vocab: int
    n_embd: int
    weight: Normal = Normal()

    def init(self, key: Array) -> Tree:
        return {"weight": self.weight(key, (self.n_vocab, self.n_embd))}

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, Array]:
        y, (ids, _) = rules.embedding_fwd(x, params["weight"])
        return y, ids

    def bwd(self, params: Tree, res: Array, dy: Array) -> tuple[Tree, None]:
        residuals = rules.EmbeddingResiduals(res, params["weight"])
        _, dweight = rules.embedding_bwd(residuals, dy)
        return {"weight": dweight}, None


@dataclass(frozen=True)
class PositionEmbedding(Layer):
    """Look up the position of each id: (*B, T) to (*B, T, E), with T ≤ ``block_size``.

    For :meth:`step`, the cache is the position. Beyond ``block_size`` tokens the table has no row
    and the output is NaN.
    """

    block_size: int
    n_embd: int
    weight: Normal = Normal()

    def init(self, key: Array) -> Tree:
        return {"weight": self.weight(key, (self.block_size, self.n_embd))}

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, Array]:
        n_steps = x.shape[-1]
        if n_steps > self.block_size:
            raise ValueError(f"{n_steps} tokens are more than the block size of {self.block_size}")
        y, (places, _) = rules.embedding_fwd(jnp.arange(n_steps), params["weight"])
        return jnp.broadcast_to(y, (*x.shape, self.n_embd)), places

    def bwd(self, params: Tree, res: Array, dy: Array) -> tuple[Tree, None]:
        # Sum over the batch first (the transpose of the broadcast), which leaves T rows to scatter.
        drows = widen(dy).sum(tuple(range(dy.ndim - 2))).astype(dy.dtype)
        _, dweight = rules.embedding_bwd(rules.EmbeddingResiduals(res, params["weight"]), drows)
        return {"weight": dweight}, None

    def cache(self, params: Tree, batch_size: int) -> Array:
        return jnp.zeros((), jnp.int32)

    def step(self, params: Tree, stats: Tree, cache: Array, x_t: Array) -> tuple[Array, Array]:
        row = params["weight"].at[cache].get(mode="fill", fill_value=jnp.nan)
        return jnp.broadcast_to(row, (*x_t.shape, self.n_embd)), cache + 1
