"""The algebra: layers bind rules to named parameters, combinators compose layers.

A layer is a frozen dataclass with pure methods. It is hashable and equal by value, so equal
models share one compilation. Parameters, residuals, statistics and caches are plain trees that
it takes and returns; a layer holds none of them. No derivative is taken here: ``bwd`` only
routes cotangents through the rules.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmore import rules

Tree = dict[str, Any]
"""Parameters, their cotangents or statistics: a dict of arrays, or of such dicts."""


@dataclass(frozen=True)
class Normal:
    """Draws of a normal distribution: mean + std · N(0, 1)."""

    std: float = 1.0
    mean: float = 0.0

    def __call__(self, key: Array, shape: tuple[int, ...]) -> Float[Array, "*shape"]:
        return self.mean + self.std * jax.random.normal(key, shape)


@dataclass(frozen=True)
class Layer:
    """What every layer offers. The defaults are those of a layer with nothing to remember."""

    def init(self, key: Array) -> Tree:
        """Fresh parameters."""
        del key
        return {}

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, Any]:
        """The forward pass in training: (y, residuals). ``key`` feeds what is random."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def bwd(self, params: Tree, res: Any, dy: Array) -> tuple[Tree, Array | None]:
        """The backward pass: (dparams in the tree of params, dx or None for integer inputs)."""
        raise NotImplementedError(f"{type(self).__name__} defines no backward")

    def stats(self, res: Any) -> Tree:
        """What inference needs of a forward pass over the training data, out of its residuals."""
        del res
        return {}

    def apply(self, params: Tree, stats: Tree, x: Array) -> Array:
        """The forward pass in inference."""
        del stats
        return self.fwd(params, x)[0]

    def cache(self, params: Tree, batch_size: int) -> Any:
        """What ``step`` carries from token to token, before the first token."""
        del params, batch_size
        return ()

    def step(self, params: Tree, stats: Tree, cache: Any, x_t: Array) -> tuple[Array, Any]:
        """Inference for one token of each of B sequences: (y_t, cache)."""
        return self.apply(params, stats, x_t), cache

    def map(self, function: Callable[["Layer"], "Layer"]) -> "Layer":
        """The same layer with ``function`` applied to its sub-layers; a leaf has none."""
        del function
        return self


@dataclass(frozen=True)
class Embedding(Layer):
    """Ids (*shape) to rows of a table, (*shape, E)."""

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
class Flatten(Layer):
    """The T rows of a context side by side: (*B, T, E) to (*B, T·E)."""

    block_size: int

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, tuple[()]]:
        return rules.flatten_fwd(x, block_size=self.block_size)

    def bwd(self, params: Tree, res: tuple[()], dy: Array) -> tuple[Tree, Array]:
        (dx,) = rules.flatten_bwd(res, dy, block_size=self.block_size)
        return {}, dx


@dataclass(frozen=True)
class Linear(Layer):
    """An affine map of the last axis, (*B, n_in) to (*B, n_out); ``bias=None``: without one."""

    n_in: int
    n_out: int
    weight: Normal = Normal()
    bias: Normal | None = Normal()

    def init(self, key: Array) -> Tree:
        weight_key, bias_key = jax.random.split(key)
        params = {"weight": self.weight(weight_key, (self.n_in, self.n_out))}
        if self.bias is not None:
            params["bias"] = self.bias(bias_key, (self.n_out,))
        return params

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, Array]:
        y, (x, _) = rules.linear_fwd(x, params["weight"], params.get("bias"))
        return y, x  # weights are not residuals of a layer

    def bwd(self, params: Tree, res: Array, dy: Array) -> tuple[Tree, Array]:
        dx, dweight, dbias = rules.linear_bwd((res, params["weight"]), dy)
        return {"weight": dweight} | ({} if self.bias is None else {"bias": dbias}), dx


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch normalisation of the last axis over all the others, with the unbiased variance."""

    n_features: int
    gain: Normal = Normal(std=0.0, mean=1.0)
    bias: Normal = Normal(std=0.0)
    eps: float = 1e-5

    def init(self, key: Array) -> Tree:
        gain_key, bias_key = jax.random.split(key)
        shape = (self.n_features,)
        return {"gain": self.gain(gain_key, shape), "bias": self.bias(bias_key, shape)}

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, Any]:
        y, (*res, _) = rules.batch_norm_fwd(x, params["gain"], params["bias"], eps=self.eps)
        return y, tuple(res)

    def bwd(self, params: Tree, res: Any, dy: Array) -> tuple[Tree, Array]:
        x_hat, mean, var = res
        residuals = rules.BatchNormResiduals(x_hat, mean, var, params["gain"])
        dx, dgain, dbias = rules.batch_norm_bwd(residuals, dy, eps=self.eps)
        return {"gain": dgain, "bias": dbias}, dx

    def stats(self, res: Any) -> Tree:
        _, mean, var = res
        return {"mean": mean, "var": var}

    def apply(self, params: Tree, stats: Tree, x: Array) -> Array:
        gain, bias, mean, var = params["gain"], params["bias"], stats["mean"], stats["var"]
        return rules.batch_norm_inference(x, gain, bias, mean, var, eps=self.eps)


@dataclass(frozen=True)
class Tanh(Layer):
    """The hyperbolic tangent, elementwise."""

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, Array]:
        return rules.tanh_fwd(x)

    def bwd(self, params: Tree, res: Array, dy: Array) -> tuple[Tree, Array]:
        (dx,) = rules.tanh_bwd(res, dy)
        return {}, dx


@dataclass(frozen=True)
class Windows(Layer):
    """Ids (B, T) to the contexts of the last n ids, oldest first: (B, T, n).

    Places before the first id hold ``blank``. Token by token, the last ids are the cache.
    """

    n: int
    blank: int = 0

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, tuple[()]]:
        n_steps = x.shape[-1]
        padded = jnp.pad(x, ((0, 0), (self.n - 1, 0)), constant_values=self.blank)
        return padded[:, jnp.arange(n_steps)[:, None] + jnp.arange(self.n)], ()

    def bwd(self, params: Tree, res: tuple[()], dy: Array | None) -> tuple[Tree, None]:
        return {}, None

    def cache(self, params: Tree, batch_size: int) -> Array:
        return jnp.full((batch_size, self.n), self.blank, jnp.int32)

    def step(self, params: Tree, stats: Tree, cache: Array, x_t: Array) -> tuple[Array, Array]:
        context = jnp.concatenate([cache[:, 1:], x_t[:, None]], axis=1)
        return context, context


@dataclass(frozen=True, init=False, repr=False)
class Chain(Layer):
    """Layers one after the other; their names are the keys of every tree."""

    layers: tuple[tuple[str, Layer], ...]

    def __init__(self, **layers: Layer) -> None:
        object.__setattr__(self, "layers", tuple(layers.items()))

    def __repr__(self) -> str:
        return f"Chain({', '.join(f'{name}={layer!r}' for name, layer in self.layers)})"

    def init(self, key: Array) -> Tree:
        keys = jax.random.split(key, len(self.layers))
        return {name: layer.init(k) for (name, layer), k in zip(self.layers, keys, strict=True)}

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, Tree]:
        res: Tree = {}
        for i, (name, layer) in enumerate(self.layers):
            layer_key = None if key is None else jax.random.fold_in(key, i)
            x, res[name] = layer.fwd(params[name], x, layer_key)
        return x, res

    def bwd(self, params: Tree, res: Tree, dy: Array | None) -> tuple[Tree, Array | None]:
        dparams: Tree = {}
        for name, layer in reversed(self.layers):
            dparams[name], dy = layer.bwd(params[name], res[name], cast(Array, dy))
        return dparams, dy

    def stats(self, res: Tree) -> Tree:
        return {name: layer.stats(res[name]) for name, layer in self.layers}

    def apply(self, params: Tree, stats: Tree, x: Array) -> Array:
        for name, layer in self.layers:
            x = layer.apply(params[name], stats[name], x)
        return x

    def cache(self, params: Tree, batch_size: int) -> Tree:
        return {name: layer.cache(params[name], batch_size) for name, layer in self.layers}

    def step(self, params: Tree, stats: Tree, cache: Tree, x_t: Array) -> tuple[Array, Tree]:
        new_cache: Tree = {}
        for name, layer in self.layers:
            x_t, new_cache[name] = layer.step(params[name], stats[name], cache[name], x_t)
        return x_t, new_cache

    def map(self, function: Callable[[Layer], Layer]) -> "Chain":
        return Chain(**{name: function(layer) for name, layer in self.layers})


def by_path(tree: Tree) -> dict[str, Any]:
    """The leaves of a tree of dicts under their dotted paths, ``hidden.weight``."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(k, simple=True, separator="."): leaf for k, leaf in leaves}


def count_parameters(model: Layer) -> int:
    """How many numbers the model learns."""
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def describe(model: Chain) -> str:
    """A table of the model: its layers, the shapes of their parameters, the counts.

    >>> print(describe(Chain(embedding=Embedding(27, 10), flatten=Flatten(3))))
    embedding  Embedding  weight (27, 10)  270
    flatten    Flatten
    270 parameters
    """
    rows: list[tuple[str, str, str, str]] = []
    for name, layer in model.layers:
        shapes = by_path(jax.eval_shape(layer.init, jax.random.key(0)))
        count = sum(leaf.size for leaf in shapes.values())
        arrays = ", ".join(f"{path} {leaf.shape}" for path, leaf in shapes.items())
        rows.append((name, type(layer).__name__, arrays, f"{count:,}" if count else ""))
    width = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"{name:{width[0]}}  {kind:{width[1]}}  {arrays:{width[2]}}  {count:>{width[3]}}".rstrip()
        for name, kind, arrays, count in rows
    ]
    return "\n".join([*lines, f"{count_parameters(model):,} parameters"])
