"""Parameters sharded over devices: along which axis each is cut, and the model that takes the cuts.

Over ``model``, an attention between two affine maps is cut by heads, and an activation between two
by columns: the first map by the columns of its weight, the second by the rows. Every device then
computes a term of the second map's output, which is their sum. Over ``data``, parameters and
optimiser state are cut anywhere, and gathered before they are used.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from jaxmore.layers import CausalSelfAttention, Chain, Combinator, Gelu, Layer, Linear, Relu, Tanh
from jaxmore.training.parts import DATA

MODEL = "model"
"""The mesh axis that the weights of a transformer are sharded over."""
Path = tuple[str, ...]
_Value = TypeVar("_Value")


class Split(NamedTuple):
    """A model whose weights are sharded over the axis ``model``."""

    layer: Layer
    """The model for parameters whose columns are regrouped."""
    axes: dict[Path, int]
    """The axis that is sharded; a parameter that is missing here is on every device."""
    regrouped: frozenset[Path]
    """The parameters whose columns (q|k|v) of all heads become (q|k|v) of each device's heads."""


@cache
def split(model: Layer, n: int) -> Split:
    """Shard a model's weights over n devices.

    Raises:
        ValueError: n does not divide the heads.
    """
    axes: dict[Path, int] = {}
    regrouped: set[Path] = set()

    def cut(layer: Layer, path: Path) -> Layer:
        if not isinstance(layer, Combinator):
            return layer
        layers = {name: cut(inner, (*path, name)) for name, inner in layer.layers}
        names, by_rows = tuple(layers), ""
        for up, between, down in zip(names, names[1:], names[2:], strict=False):
            first, inner, second = layers[up], layers[between], layers[down]
            if not (isinstance(layer, Chain) and up != by_rows):
                continue
            if not (isinstance(first, Linear) and isinstance(second, Linear)):
                continue
            if type(inner) is CausalSelfAttention:  # a subclass may order its columns otherwise
                layers[between] = GroupedHeads(inner.n_embd, inner.n_head, inner.block_size, n)
                regrouped.update((*path, up, name) for name in ("weight", "bias"))
            elif not isinstance(inner, Gelu | Relu | Tanh) or first.n_out % n:
                continue
            axes.update({(*path, up, "weight"): 1, (*path, up, "bias"): 0})
            axes[*path, down, "weight"] = 0
            by_rows = down
        return type(layer)(**layers)

    return Split(cut(model, ()), axes, frozenset(regrouped))


@dataclass(frozen=True)
class GroupedHeads(CausalSelfAttention):
    """Attention for columns that are grouped by device: (q|k|v) of its heads, E/n of each.

    In the order of :class:`~jaxmore.layers.CausalSelfAttention`, (q|k|v) of all heads, an equal
    share of the columns would hold no whole head, and XLA would gather the activation.
    """

    n: int = 1

    def __post_init__(self) -> None:
        """Check that the devices divide the heads."""
        super().__post_init__()
        if self.n_head % self.n:
            raise ValueError(f"{self.n} does not divide the {self.n_head} heads")

    def _split(self, x: Array) -> tuple[Array, Array, Array]:
        groups = x.reshape(*x.shape[:-1], self.n, 3, self.n_head // self.n, -1)
        heads = (*x.shape[:-1], self.n_head, self.n_embd // self.n_head)
        q, k, v = (groups[..., i, :, :].reshape(heads).swapaxes(-2, -3) for i in range(3))
        return q, k, v

    def _join(self, dqkv: tuple[Array, Array, Array]) -> Array:
        rows = [self._merge(d) for d in dqkv]
        groups = [d.reshape(*d.shape[:-1], self.n, -1) for d in rows]
        return jnp.stack(groups, axis=-2).reshape(*rows[0].shape[:-1], 3 * self.n_embd)


def regroup(columns: Any, outer: int, inner: int) -> Any:
    """Exchange the two outer axes of columns (outer, inner, ...).

    >>> regroup(jnp.arange(6), 3, 2).tolist()  # q0 q1 k0 k1 v0 v1
    [0, 2, 4, 1, 3, 5]
    """
    groups = columns.reshape(*columns.shape[:-1], outer, inner, -1)
    return groups.swapaxes(-2, -3).reshape(columns.shape)


@cache
def specs(model: Layer, n_model: int, n_data: int) -> dict[Path, P]:
    """Return the mesh axes of each parameter's axes.

    Args:
        model: the model.
        n_model: the devices to shard the weights of attention and MLP over.
        n_data: the devices to shard every parameter over, along the first axis that they divide
            and that is not sharded yet. A parameter without such an axis is on every device.
    """
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    axes = split(model, n_model).axes if n_model > 1 else {}
    found: dict[Path, P] = {}
    for path, a in jax.tree_util.tree_leaves_with_path(shapes):
        names: list[str | None] = [None] * a.ndim
        at = of_parameter(axes, path, None)
        if at is not None:
            names[at] = MODEL
        if n_data > 1:
            free = (i for i in range(a.ndim) if names[i] is None and a.shape[i] % n_data == 0)
            at = next(free, None)
            if at is not None:
                names[at] = DATA
        while names and names[-1] is None:  # as jit returns it, or the next call would compile
            names.pop()
        found[_names(path)] = P(*names)
    return found


def of_parameter(table: Mapping[Path, _Value], path: Any, default: _Value) -> _Value:
    """Look up the parameter that a leaf of a state belongs to: its own path, or the end of it."""
    names = _names(path)
    ends = (names[i:] for i in range(len(names)))
    return next((table[end] for end in ends if end in table), default)


def _names(path: Any) -> Path:
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)
