"""Layers that mix information between positions: causal mean and causal self-attention."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxmore import rules
from jaxmore.layers.base import Layer, Tree
from jaxmore.rules._attention import MASK_VALUE


class RunningSum(NamedTuple):
    """The cache of :class:`CausalMean`."""

    total: Float[Array, "B E"]
    n: Int[Array, ""]


@dataclass(frozen=True)
class CausalMean(Layer):
    """The mean of all rows up to each position; the cache for :meth:`step` is a running sum."""

    n_embd: int

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, tuple[()]]:
        return rules.causal_mean_fwd(x)

    def bwd(self, params: Tree, res: tuple[()], dy: Array) -> tuple[Tree, Array]:
        (dx,) = rules.causal_mean_bwd(res, dy)
        return {}, dx

    def cache(self, params: Tree, batch_size: int) -> RunningSum:
        # In JAX's default float dtype: the layer has no parameters to take a dtype from.
        return RunningSum(jnp.zeros((batch_size, self.n_embd)), jnp.zeros((), jnp.int32))

    def step(
        self, params: Tree, stats: Tree, cache: RunningSum, x_t: Array
    ) -> tuple[Array, RunningSum]:
        dtype = cache.total.dtype
        total, n = cache.total + x_t.astype(dtype), cache.n + 1
        return (total / n.astype(dtype)).astype(x_t.dtype), RunningSum(total, n)


class KVCache(NamedTuple):
    """The cache of :class:`CausalSelfAttention`: ``block_size`` slots, of which n are filled."""

    k: Float[Array, "B N S D"]
    v: Float[Array, "B N S D"]
    n: Int[Array, ""]


@dataclass(frozen=True)
class CausalSelfAttention(Layer):
    """Multi-head causal attention, to be placed between two ``Linear``: (*B, T, 3E) to (*B, T, E).

    The last axis of the input holds queries, keys and values in this order, E of each, split into
    heads of width E/N. The output concatenates the heads. For :meth:`step`, the cache holds the
    keys and values of up to ``block_size`` tokens; beyond that the output is NaN.
    """

    n_embd: int
    n_head: int
    block_size: int
    can_recompute: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check that the heads divide the embedding."""
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd {self.n_embd} is not a multiple of n_head {self.n_head}")

    def fwd(
        self, params: Tree, x: Array, key: Array | None = None
    ) -> tuple[Array, rules.AttentionResiduals]:
        o, res = rules.causal_attention_fwd(*self._split(x))
        return self._merge(o), res

    def bwd(self, params: Tree, res: rules.AttentionResiduals, dy: Array) -> tuple[Tree, Array]:
        do = dy.reshape(*dy.shape[:-1], self.n_head, -1).swapaxes(-2, -3)
        return {}, self._join(rules.causal_attention_bwd(res, do))

    def recompute(self, params: Tree, res: rules.AttentionResiduals) -> Array:
        return self._merge(res.o)

    def cache(self, params: Tree, batch_size: int) -> KVCache:
        # In JAX's default float dtype: the layer has no parameters to take a dtype from.
        room = jnp.zeros((batch_size, self.n_head, self.block_size, self.n_embd // self.n_head))
        return KVCache(room, room, jnp.zeros((), jnp.int32))

    def step(self, params: Tree, stats: Tree, cache: KVCache, x_t: Array) -> tuple[Array, KVCache]:
        dtype, place = cache.k.dtype, cache.n
        q, k_t, v_t = (part.astype(dtype) for part in self._split(x_t[:, None]))
        k = cache.k.at[:, :, place].set(k_t[:, :, 0], mode="drop")
        v = cache.v.at[:, :, place].set(v_t[:, :, 0], mode="drop")
        mask = jnp.arange(self.block_size, dtype=jnp.int32) <= place
        scores: Array = (q @ k.mT) * q.shape[-1] ** -0.5
        o = rules.softmax(jnp.where(mask, scores, MASK_VALUE)) @ v
        o = jnp.where(place < self.block_size, o, jnp.nan)
        return self._merge(o)[:, 0].astype(x_t.dtype), KVCache(k, v, place + 1)

    def _split(self, x: Array) -> tuple[Array, Array, Array]:
        # From (*B, T, 3E) to three arrays (*B, N, T, D).
        heads = x.reshape(*x.shape[:-1], 3, self.n_head, -1)
        q, k, v = (heads[..., i, :, :].swapaxes(-2, -3) for i in range(3))
        return q, k, v

    def _join(self, dqkv: tuple[Array, Array, Array]) -> Array:
        # The transpose of _split.
        return jnp.concatenate([self._merge(d) for d in dqkv], axis=-1)

    def _merge(self, heads: Array) -> Array:
        # From (*B, N, T, D) to (*B, T, E).
        rows = heads.swapaxes(-2, -3)
        return rows.reshape(*rows.shape[:-2], self.n_embd)
