"""Layers composed of named layers: in sequence, with a skip connection, or summed."""

import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import jax
from jaxtyping import Array

from jaxmore.layers.base import Layer, Recomputed, Tree
from jaxmore.rules._recompute import recompute_after


@dataclass(frozen=True, init=False, repr=False)
class Combinator(Layer):
    """Base class of the combinators. The layers' names are the keys of every tree."""

    layers: tuple[tuple[str, Layer], ...]

    def __init__(self, **layers: Layer) -> None:
        object.__setattr__(self, "layers", tuple(layers.items()))

    def __repr__(self) -> str:
        layers = ", ".join(f"{name}={layer!r}" for name, layer in self.layers)
        # Block names such as "0" are not Python identifiers, so they need the **.
        if not all(name.isidentifier() for name, _ in self.layers):
            layers = f"**{dict(self.layers)!r}"
        return f"{type(self).__name__}({layers})"

    def _repr_html_(self) -> str:
        from jaxmore.layers.description import as_html

        return as_html(self)

    def init(self, key: Array) -> Tree:
        keys = jax.random.split(key, len(self.layers))
        return {name: layer.init(k) for (name, layer), k in zip(self.layers, keys, strict=True)}

    def cache(self, params: Tree, batch_size: int) -> Tree:
        return {name: layer.cache(params[name], batch_size) for name, layer in self.layers}

    def map(self, function: Callable[[Layer], Layer]) -> "Combinator":
        return type(self)(**{name: function(layer) for name, layer in self.layers})


@dataclass(frozen=True, init=False, repr=False)
class Chain(Combinator):
    """Layers applied in sequence.

    Some layers keep their input as the residual (``Linear`` does). If the preceding layer can
    recompute that array, it is not stored: the backward pass trades memory for computation.
    """

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, Tree]:
        res: Tree = {}
        recomputable = False
        for i, (name, layer) in enumerate(self.layers):
            y, kept = layer.fwd(params[name], x, _key_of(key, i))
            dropped = recomputable and kept is x
            res[name] = Recomputed() if dropped else kept
            # A layer whose own residuals were dropped has nothing to recompute from.
            x, recomputable = y, layer.can_recompute and not dropped
        return x, res

    def bwd(self, params: Tree, res: Tree, dy: Array | None) -> tuple[Tree, Array | None]:
        dparams: Tree = {}
        for i, (name, layer) in reversed(tuple(enumerate(self.layers))):
            kept = res[name]
            if isinstance(kept, Recomputed):
                before, previous = self.layers[i - 1]
                first = cast(Array, dy)[(slice(1),) * cast(Array, dy).ndim].sum()  # 0 if empty
                kept = previous.recompute(params[before], recompute_after(first, res[before]))
            dparams[name], dy = layer.bwd(params[name], kept, cast(Array, dy))
        return dparams, dy

    def apply(self, params: Tree, stats: Tree, x: Array) -> Array:
        for name, layer in self.layers:
            x = layer.apply(params[name], stats[name], x)
        return x

    def calibrate(self, params: Tree, x: Array, counts: Array | None = None) -> tuple[Array, Tree]:
        stats: Tree = {}
        for name, layer in self.layers:
            x, stats[name] = layer.calibrate(params[name], x, counts)
        return x, stats

    def step(self, params: Tree, stats: Tree, cache: Tree, x_t: Array) -> tuple[Array, Tree]:
        new_cache: Tree = {}
        for name, layer in self.layers:
            x_t, new_cache[name] = layer.step(params[name], stats[name], cache[name], x_t)
        return x_t, new_cache


@dataclass(frozen=True, init=False, repr=False)
class Residual(Chain):
    """A chain f with a skip connection: y = x + f(x), hence dx = dy + f's own dx."""

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, Tree]:
        y, res = super().fwd(params, x, key)
        return x + y, res

    def bwd(self, params: Tree, res: Tree, dy: Array | None) -> tuple[Tree, Array]:
        dparams, dx = super().bwd(params, res, dy)
        return dparams, cast(Array, dy) + cast(Array, dx)

    def apply(self, params: Tree, stats: Tree, x: Array) -> Array:
        return x + super().apply(params, stats, x)

    def calibrate(self, params: Tree, x: Array, counts: Array | None = None) -> tuple[Array, Tree]:
        y, stats = super().calibrate(params, x, counts)
        return x + y, stats

    def step(self, params: Tree, stats: Tree, cache: Tree, x_t: Array) -> tuple[Array, Tree]:
        y_t, cache = super().step(params, stats, cache, x_t)
        return x_t + y_t, cache


@dataclass(frozen=True, init=False, repr=False)
class Add(Combinator):
    """The sum of layers applied to the same x: each receives dy, and dx is the sum of theirs."""

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, Tree]:
        res: Tree = {}
        parts: list[Array] = []
        for i, (name, layer) in enumerate(self.layers):
            part, res[name] = layer.fwd(params[name], x, _key_of(key, i))
            parts.append(part)
        return _sum(parts), res

    def bwd(self, params: Tree, res: Tree, dy: Array) -> tuple[Tree, Array | None]:
        dparams: Tree = {}
        parts: list[Array] = []
        for name, layer in self.layers:
            dparams[name], dx = layer.bwd(params[name], res[name], dy)
            if dx is not None:
                parts.append(dx)
        return dparams, _sum(parts) if parts else None

    def apply(self, params: Tree, stats: Tree, x: Array) -> Array:
        return _sum([layer.apply(params[name], stats[name], x) for name, layer in self.layers])

    def calibrate(self, params: Tree, x: Array, counts: Array | None = None) -> tuple[Array, Tree]:
        stats: Tree = {}
        parts: list[Array] = []
        for name, layer in self.layers:
            part, stats[name] = layer.calibrate(params[name], x, counts)
            parts.append(part)
        return _sum(parts), stats

    def step(self, params: Tree, stats: Tree, cache: Tree, x_t: Array) -> tuple[Array, Tree]:
        new_cache: Tree = {}
        parts: list[Array] = []
        for name, layer in self.layers:
            part, new_cache[name] = layer.step(params[name], stats[name], cache[name], x_t)
            parts.append(part)
        return _sum(parts), new_cache


def _key_of(key: Array | None, i: int) -> Array | None:
    return None if key is None else jax.random.fold_in(key, i)


def _sum(parts: list[Array]) -> Array:
    return functools.reduce(operator.add, parts)
