"""Summaries of a model: parameters by path, their number, and a table of layers."""

from collections.abc import Iterator
from typing import Any

import jax

from jaxmore.layers.base import Layer, Tree
from jaxmore.layers.combinators import Combinator


def by_path(tree: Tree) -> dict[str, Any]:
    """Flatten a nested dict to dotted paths such as ``hidden.weight``."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(k, simple=True, separator="."): leaf for k, leaf in leaves}


def count_parameters(model: Layer) -> int:
    """Count the parameters of a model."""
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def describe(model: Combinator) -> str:
    """Format a table of a model: its layers, the shapes of their parameters, and counts.

    >>> from jaxmore.layers import Chain, Embedding, Flatten
    >>> print(describe(Chain(embedding=Embedding(27, 10), flatten=Flatten(3))))
    embedding  Embedding  weight (27, 10)  270
    flatten    Flatten
    270 parameters
    """
    rows: list[tuple[str, str, str, str]] = []
    for name, layer in _named_layers(model, ""):
        if isinstance(layer, Combinator):  # its layers get their own rows
            rows.append((name, type(layer).__name__, "", ""))
            continue
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


def _named_layers(model: Combinator, prefix: str) -> Iterator[tuple[str, Layer]]:
    for name, layer in model.layers:
        yield prefix + name, layer
        if isinstance(layer, Combinator):
            yield from _named_layers(layer, f"{prefix}{name}.")
