"""Summaries of a model: parameters by path, their number, and a table of layers."""

from collections.abc import Iterator
from typing import Any

import jax

from jaxmore import notebook
from jaxmore.layers.base import Layer, Tree
from jaxmore.layers.combinators import Combinator
from jaxmore.terminal import table


def by_path(tree: Tree) -> dict[str, Any]:
    """Flatten a nested dict to dotted paths such as ``hidden.weight``."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(k, simple=True, separator="."): leaf for k, leaf in leaves}


def count_parameters(model: Layer) -> int:
    """Count the parameters of a model."""
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def describe(model: Combinator, columns: int | None = None) -> str:
    """Format a table of a model: its layers, the shapes of their parameters, and counts.

    Args:
        model: the model.
        columns: the width to break the lines at; None breaks none.

    >>> from jaxmore.layers import Chain, Embedding, Flatten
    >>> print(describe(Chain(embedding=Embedding(27, 10), flatten=Flatten(3))))
    embedding  Embedding  weight (27, 10)  270
    flatten    Flatten
    270 parameters
    """
    rows = describe_layers(model)
    lines = table(rows, "<<<>", columns, fold=2)
    return f"{lines}\n{count_parameters(model):,} parameters"


def as_html(model: Combinator) -> str:
    """Format the table for a notebook."""
    head = ("layer", "class", "parameters", "count")
    return notebook.table(head, describe_layers(model), f"{count_parameters(model):,} parameters")


def describe_layers(model: Combinator) -> list[tuple[str, str, str, str]]:
    """Return a row for each layer: its path, its class, its parameters and how many they are."""
    rows: list[tuple[str, str, str, str]] = []
    for name, layer in _named_layers(model, ""):
        if isinstance(layer, Combinator):  # its layers get their own rows
            rows.append((name, type(layer).__name__, "", ""))
            continue
        shapes = by_path(jax.eval_shape(layer.init, jax.random.key(0)))
        count = sum(leaf.size for leaf in shapes.values())
        arrays = ", ".join(f"{path} {leaf.shape}" for path, leaf in shapes.items())
        rows.append((name, type(layer).__name__, arrays, f"{count:,}" if count else ""))
    return rows


def _named_layers(model: Combinator, prefix: str) -> Iterator[tuple[str, Layer]]:
    for name, layer in model.layers:
        yield prefix + name, layer
        if isinstance(layer, Combinator):
            yield from _named_layers(layer, f"{prefix}{name}.")
