"""Layers that turn tokens into contexts, and the rows of a context into one row."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array

from jaxmore import rules
from jaxmore.layers.base import Layer, Tree


@dataclass(frozen=True)
class Windows(Layer):
    """Map ids (B, T) to contexts of the last n ids, (B, T, n), with the oldest or newest first.

    Positions before the first id hold ``blank``. For :meth:`step`, the cache holds the last n ids.
    """

    n: int
    blank: int = 0
    newest_first: bool = False

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, tuple[()]]:
        n_steps = x.shape[-1]
        ids = x.astype(jnp.int32)  # int8 can hold the ids for V = 128, but not blank = 128
        padded = jnp.pad(ids, ((0, 0), (self.n - 1, 0)), constant_values=self.blank)
        return padded[:, jnp.arange(n_steps)[:, None] + self._order()], ()

    def bwd(self, params: Tree, res: tuple[()], dy: Array | None) -> tuple[Tree, None]:
        return {}, None

    def cache(self, params: Tree, batch_size: int) -> Array:
        return jnp.full((batch_size, self.n), self.blank, jnp.int32)

    def step(self, params: Tree, stats: Tree, cache: Array, x_t: Array) -> tuple[Array, Array]:
        cache = jnp.concatenate([cache[:, 1:], x_t[:, None]], axis=1)
        return cache[:, self._order()], cache

    def _order(self) -> Array:
        order = jnp.arange(self.n)
        return order[::-1] if self.newest_first else order


@dataclass(frozen=True)
class JoinIds(Layer):
    """Join the n ids of a context, (*B, n) to (*B), as the digits of a number in base V."""

    n_vocab: int

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, tuple[()]]:
        places = self.n_vocab ** jnp.arange(x.shape[-1])[::-1]
        return (x.astype(places.dtype) * places).sum(-1), ()  # x may hold small integers

    def bwd(self, params: Tree, res: tuple[()], dy: Array | None) -> tuple[Tree, None]:
        return {}, None


@dataclass(frozen=True)
class Flatten(Layer):
    """Concatenate the T rows of a context: (*B, T, E) to (*B, T·E)."""

    block_size: int

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, tuple[()]]:
        return rules.flatten_fwd(x, block_size=self.block_size)

    def bwd(self, params: Tree, res: tuple[()], dy: Array) -> tuple[Tree, Array]:
        (dx,) = rules.flatten_bwd(res, dy, block_size=self.block_size)
        return {}, dx


@dataclass(frozen=True)
class FlattenConsecutive(Layer):
    """Concatenate each n rows: (*B, T, E) to (*B, T/n, n·E), or to (*B, n·E) if T = n.

    Source: lecture 6 of zero-to-hero, whose layer also drops the axis of length 1.
    """

    n: int

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, Array]:
        y, _ = rules.flatten_consecutive_fwd(x, n=self.n)
        shape_of_x = x[..., :0]  # an empty array that tells bwd the shape of x
        return y.squeeze(-2) if y.shape[-2] == 1 else y, shape_of_x

    def bwd(self, params: Tree, res: Array, dy: Array) -> tuple[Tree, Array]:
        *batch, n_rows, _ = res.shape
        groups = dy.reshape(*batch, n_rows // self.n, dy.shape[-1])
        (dx,) = rules.flatten_consecutive_bwd((), groups, n=self.n)
        return {}, dx
