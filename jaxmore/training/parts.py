"""Sums over a batch in a fixed order: the batch in equal parts, each by the same compiled loop.

A device holds k parts of the batch, stacked along a new first axis. :func:`map_parts` computes them
one at a time, so a part has the same shapes, and is computed by the same machine code, whichever
device holds it. :func:`sum_parts` adds the parts of all devices in a fixed binary tree. What a step
computes therefore does not depend on how many devices share the batch, to the last bit.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.layout import Layout as DeviceLayout
from jax.experimental.layout import with_layout_constraint
from jaxtyping import Array, Float

from jaxmore import rules
from jaxmore.layers import BatchNorm, Combinator, Layer, Tree
from jaxmore.rules._precision import widen

DATA = "data"
"""The mesh axis that the batch is sharded over."""
PARTS = 8
"""The most parts of a batch in a fixed tree; a batch that 8 does not divide has 4, 2 or 1."""


def n_parts(batch_size: int) -> int:
    """Return the number of parts that a batch is summed in, whatever the layout.

    >>> [n_parts(batch_size) for batch_size in (32, 12, 6, 7)]
    [8, 4, 2, 1]
    """
    return math.gcd(batch_size, PARTS)


def map_parts(function: Callable[[Any], Any], parts: Any) -> Any:
    """Apply a function to each part and stack the results.

    Args:
        function: from a tree of arrays to a tree of arrays.
        parts: a tree of arrays (k, ...).
    """
    k = len(jax.tree.leaves(parts)[0])
    one = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), parts)
    # One more part than there are, which the loop never reaches. With k = 1 XLA would see that each
    # round does the same, and move it out of the loop.
    parts = jax.tree.map(lambda a: jnp.concatenate([a, jnp.zeros_like(a[:1])]), parts)
    results = jax.tree.map(
        lambda a: jnp.zeros((k + 1, *a.shape), a.dtype), jax.eval_shape(function, one)
    )

    def body(i: Array, results: Any) -> Any:
        part = jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, i, keepdims=False), parts)
        new = lax.optimization_barrier(function(lax.optimization_barrier(part)))
        return jax.tree.map(
            lambda a, new: lax.dynamic_update_index_in_dim(a, new, i, 0), results, new
        )

    # The barriers keep the body as it is: they hide k from XLA, which would inline a loop of one
    # round, and the slices and updates, which it would fuse with the function in ways that depend
    # on k. A fused multiply-add rounds otherwise.
    results = lax.fori_loop(0, lax.optimization_barrier(jnp.int32(k)), body, results)
    return jax.tree.map(lambda a: a[:k], results)


def sum_parts(parts: Any) -> Any:
    """Sum a tree of stacked parts over the parts of all devices, with one all-gather.

    The order of additions is that of a binary tree over all parts. A device adds its own parts,
    which form a subtree, before it sends their sum.
    """
    sums = jax.tree.map(tree_sum, parts)
    leaves, structure = jax.tree.flatten(sums)
    flat = jnp.concatenate([leaf.ravel() for leaf in leaves])
    flat = tree_sum(lax.all_gather(flat, DATA))
    ends = [0]
    for leaf in leaves:
        ends.append(ends[-1] + leaf.size)
    pieces = zip(leaves, ends[:-1], ends[1:], strict=True)
    return jax.tree.unflatten(structure, [flat[a:b].reshape(leaf.shape) for leaf, a, b in pieces])


def gather_shards(shards: list[Array], axes: list[int | None]) -> list[Array]:
    """Make arrays whole that are cut along an axis over all devices, with one all-gather.

    Args:
        shards: what this device holds.
        axes: for each array the axis that is cut; None for an array that is whole already.
    """
    n = lax.axis_size(DATA)
    cut = {i: axis for i, axis in enumerate(axes) if axis is not None}
    if not cut:
        return shards
    flat = lax.all_gather(jnp.concatenate([shards[i].ravel() for i in cut]), DATA)
    ends = np.cumsum([shards[i].size for i in cut])[:-1].tolist()
    whole = dict(enumerate(shards))
    for (i, axis), pieces in zip(cut.items(), jnp.split(flat, ends, axis=1), strict=True):
        shape = list(shards[i].shape)
        stacked = jnp.moveaxis(pieces.reshape(n, *shape), 0, axis)
        shape[axis] *= n
        # Else XLA may leave a matrix transposed, and multiply by it in another order.
        in_rows = DeviceLayout(tuple(range(len(shape))))
        whole[i] = with_layout_constraint(stacked.reshape(shape), in_rows)
    return list(whole.values())


def scatter_parts(parts: list[Array], axes: list[int | None]) -> list[Array]:
    """Sum stacked parts over all devices, of which each keeps its shard, with one all-to-all.

    The transpose of :func:`gather_shards`: a reduce-scatter in the order of :func:`sum_parts`.

    Args:
        parts: arrays (k, ...).
        axes: for each array the axis of a part that is cut; None for one that every device keeps.
    """
    n = lax.axis_size(DATA)

    def cut(part: Array, axis: int | None) -> Array:
        if axis is None:
            return jnp.broadcast_to(part, (n, *part.shape))
        pieces = part.reshape(*part.shape[:axis], n, -1, *part.shape[axis + 1 :])
        return jnp.moveaxis(pieces, axis, 0)

    shards = [cut(tree_sum(part), axis) for part, axis in zip(parts, axes, strict=True)]
    flat = jnp.concatenate([shard.reshape(n, -1) for shard in shards], axis=1)
    flat = tree_sum(lax.all_to_all(flat, DATA, 0, 0))
    ends = np.cumsum([shard[0].size for shard in shards])[:-1].tolist()
    pieces = jnp.split(flat, ends)
    return [piece.reshape(shard.shape[1:]) for piece, shard in zip(pieces, shards, strict=True)]


def tree_sum(x: Float[Array, "k *shape"]) -> Float[Array, "*shape"]:
    """Sum over the first axis, a power of two long, as ((x0 + x1) + (x2 + x3)) + ...

    >>> tree_sum(jnp.array([1.0, 2.0, 3.0, 4.0])).item()
    10.0
    """
    while len(x) > 1:
        x = x[0::2] + x[1::2]
    return x[0]


def sums_and_grads(
    model: Layer, params: Tree, x: Array, y: Array
) -> tuple[Float[Array, " k"], Float[Array, " k"], Tree]:
    """Compute for each part the sum of its losses, the number of its targets, and the gradient.

    Neither is divided by the number of targets, which only the sum over all parts tells. (A part's
    loss is a mean of its own: its cotangent, the number of its targets, makes it a sum.)

    Args:
        model: ids to logits.
        params: its parameters.
        x: (k, B/parts, T) ids.
        y: (k, B/parts) or (k, B/parts, T) targets, −1 to ignore a position.
    """

    def loss_of(part: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        logits, targets = part
        loss, res = rules.softmax_cross_entropy_fwd(logits, targets)
        n = (targets != -1).sum().astype(loss.dtype)
        dlogits, _ = rules.softmax_cross_entropy_bwd(res, n)
        return n * loss, n, dlogits

    def whole(part: tuple[Array, Array]) -> tuple[Array, Array, Tree]:
        logits, res = model.fwd(params, part[0])
        loss, n, dlogits = loss_of((logits, part[1]))
        return loss, n, model.bwd(params, res, dlogits)[0]

    parted = by_parts(model)
    if isinstance(parted, PerPart):
        return map_parts(whole, (x, y))
    logits, res = parted.fwd(params, x)
    loss, n, dlogits = map_parts(loss_of, (logits, y))
    return loss, n, parted.bwd(params, res, dlogits)[0]


def by_parts(layer: Layer) -> Layer:
    """Return the layer for stacked parts. Only BatchNorm sees more than one part at once."""
    if isinstance(layer, BatchNorm):
        return BatchNormOfParts(layer.n_features, layer.gain, layer.bias, layer.eps)
    if not _holds_batch_norm(layer):
        return PerPart(layer)
    return layer.map(by_parts)


def _holds_batch_norm(layer: Layer) -> bool:
    return isinstance(layer, BatchNorm) or (
        isinstance(layer, Combinator) and any(_holds_batch_norm(inner) for _, inner in layer.layers)
    )


@dataclass(frozen=True)
class PerPart(Layer):
    """A layer applied to each part by itself; dparams are stacked, one for each part."""

    layer: Layer

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, Any]:
        return map_parts(lambda part: self.layer.fwd(params, part), x)

    def bwd(self, params: Tree, res: Any, dy: Array) -> tuple[Tree, Array | None]:
        return map_parts(lambda part: self.layer.bwd(params, *part), (res, dy))


@dataclass(frozen=True)
class BatchNormOfParts(BatchNorm):
    """BatchNorm with the statistics of the whole batch: the formulas of ``rules.batch_norm``.

    Each sum over the n rows is a sum over all parts. The transpose of such a sum hands its
    cotangent to every part, and the transpose of handing the mean to every part is a sum: two
    all-gathers forward (mean and variance) and two backward (dbias, and d · c).

    The rule's functions cannot be called for it, except in inference: between two of their lines
    every part must be done, and the parts are the rounds of a loop. A rule cut at its sums, in
    five functions, would no longer be read as one.
    """

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, Any]:
        n = _rows_of_all(x)
        if n < 2:
            raise ValueError(f"batch_norm needs at least two rows for a variance, got x {x.shape}")
        mean = sum_parts(map_parts(lambda x: widen(x).sum(_batch(x)), x)) / n
        squares = map_parts(lambda x: ((widen(x) - mean) ** 2).sum(_batch(x)), x)
        var = sum_parts(squares) / (n - 1)

        def normalise(x: Array) -> Array:
            gain, bias = params["gain"], params["bias"]
            return rules.batch_norm_inference(x, gain, bias, mean, var, eps=self.eps)

        return map_parts(normalise, x), (x, mean, var)

    def bwd(self, params: Tree, res: Any, dy: Array) -> tuple[Tree, Array]:
        x, mean, var = res
        n, gain = _rows_of_all(x), params["gain"]
        r = lax.rsqrt(var + self.eps)
        dbias = map_parts(lambda dy: widen(dy).sum(_batch(dy)), dy)
        shift = sum_parts(dbias) / n  # of d = dy − dbias/n

        def along_of(part: tuple[Array, Array]) -> Array:
            x, dy = part
            return ((widen(dy) - shift) * (widen(x) - mean)).sum(_batch(x))

        along = map_parts(along_of, (x, dy))
        slope = sum_parts(along) / ((n - 1) * (var + self.eps))

        def dx_of(part: tuple[Array, Array]) -> Array:
            x, dy = part
            dx = gain * r * (widen(dy) - shift - (widen(x) - mean) * slope)
            return dx.astype(dy.dtype)

        dparams = {"gain": map_parts(lambda a: (r * a).astype(gain.dtype), along), "bias": dbias}
        return dparams, map_parts(dx_of, (x, dy))


def _rows_of_all(x: Array) -> int:
    return lax.axis_size(DATA) * (x.size // x.shape[-1])


def _batch(x: Array) -> tuple[int, ...]:
    return tuple(range(x.ndim - 1))
