"""Proofs of the layers and combinators, each in a small size."""

from typing import Any, cast

import jax
import numpy as np

from jaxmore import layers as L
from jaxmore.prove.rule import Proof, prove_rule

LAYERS: dict[str, tuple[Any, tuple[int, ...] | str]] = {
    "Linear": (L.Linear(3, 4), (2, 3)),
    "Tanh": (L.Tanh(), (2, 3)),
    "Relu": (L.Relu(), (2, 3)),
    "Gelu": (L.Gelu(approximate=True), (2, 3)),
    "Dropout": (L.Dropout(0.3), (2, 3)),
    "Embedding": (L.Embedding(5, 3), "ids"),
    "PositionEmbedding": (L.PositionEmbedding(4, 3), "ids"),
    "Flatten": (L.Flatten(4), (2, 4, 3)),
    "FlattenConsecutive": (L.FlattenConsecutive(2), (2, 4, 3)),
    "CausalMean": (L.CausalMean(3), (2, 4, 3)),
    "CausalSelfAttention": (L.CausalSelfAttention(4, 2, 3), (2, 3, 12)),
    "BatchNorm": (L.BatchNorm(3), (4, 3)),
    "LayerNorm": (L.LayerNorm(3), (2, 3)),
    "RmsNorm": (L.RmsNorm(), (2, 3)),
    "ScanTime(RnnCell)": (L.ScanTime(L.RnnCell(3, 2)), (2, 3, 3)),
    "ScanTime(GruCell)": (L.ScanTime(L.GruCell(3, 2)), (2, 3, 3)),
    "ScanTime(LstmCell)": (L.ScanTime(L.LstmCell(3, 2)), (2, 3, 3)),
    "Chain": (L.Chain(a=L.Linear(3, 4), b=L.Tanh(), c=L.Linear(4, 2)), (2, 3)),
    "Residual": (L.Residual(a=L.Linear(3, 4), b=L.Tanh(), c=L.Linear(4, 3)), (2, 3)),
    "Add": (L.Add(a=L.Embedding(5, 3), b=L.PositionEmbedding(4, 3)), "ids"),
}
"""Each layer in a small size; the combinators with two or three layers inside."""


def prove_layers() -> list[Proof]:
    """Prove every layer: its bwd is the transpose of the derivative of its fwd."""
    return [_prove_layer(name, *case) for name, case in LAYERS.items()]


def _prove_layer(name: str, layer: Any, x: tuple[int, ...] | str) -> Proof:
    rng = np.random.default_rng(0)
    array: Any = (
        np.array([[0, 3, 3, 1], [4, 1, 0, 0]]) if x == "ids" else rng.normal(size=cast(Any, x))
    )
    with jax.enable_x64(True):
        params = layer.init(jax.random.key(0))
        params = jax.tree.map(lambda a: rng.normal(size=a.shape), params)

    def fwd(params: Any, x: Any) -> Any:
        y, residuals = layer.fwd(params, x, jax.random.key(0))  # dropout needs a key
        return y, (params, residuals)

    def bwd(saved: Any, dy: Any) -> Any:
        return layer.bwd(*saved, dy)

    return prove_rule(fwd, bwd, params, array, name=name)
