"""Layers bind rules to named parameters; combinators compose layers.

A layer is a frozen dataclass with pure methods. It is hashable and compares by value, so equal
models share one compilation. Parameters, residuals, statistics and caches are plain trees, which
its methods take and return; a layer stores none of them. Layers compute no derivatives of their
own: ``bwd`` only routes cotangents through the rules.
"""

from jaxmore.layers.base import Layer, Normal, Tree, Uniform
from jaxmore.layers.combinators import Add, Chain, Combinator, Residual
from jaxmore.layers.contexts import Flatten, FlattenConsecutive, JoinIds, Windows
from jaxmore.layers.description import by_path, count_parameters, describe
from jaxmore.layers.elementwise import Dropout, Gelu, Relu, Tanh
from jaxmore.layers.embedding import Embedding, PositionEmbedding
from jaxmore.layers.linear import Linear, fan_in_linear
from jaxmore.layers.mixing import CausalMean, CausalSelfAttention
from jaxmore.layers.norms import BatchNorm, LayerNorm, RmsNorm
from jaxmore.layers.recurrent import Cell, GruCell, LstmCell, RnnCell, ScanTime

__all__ = [
    "Add",
    "BatchNorm",
    "CausalMean",
    "CausalSelfAttention",
    "Cell",
    "Chain",
    "Combinator",
    "Dropout",
    "Embedding",
    "Flatten",
    "FlattenConsecutive",
    "Gelu",
    "GruCell",
    "JoinIds",
    "Layer",
    "LayerNorm",
    "Linear",
    "LstmCell",
    "Normal",
    "PositionEmbedding",
    "Relu",
    "Residual",
    "RmsNorm",
    "RnnCell",
    "ScanTime",
    "Tanh",
    "Tree",
    "Uniform",
    "Windows",
    "by_path",
    "count_parameters",
    "describe",
    "fan_in_linear",
]
