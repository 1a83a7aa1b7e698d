"""Models: compositions of layers only, one file per family."""

import inspect
from collections.abc import Callable
from typing import Any

from jaxmore.layers import Chain, Layer, Tree, Windows
from jaxmore.models.mlp import bengio, mlp_bn

MODELS: dict[str, Callable[..., Chain]] = {"mlp-bn": mlp_bn, "bengio": bengio}
"""Every ``--type`` of the command line, the default first."""

__all__ = ["MODELS", "bengio", "mlp_bn", "model_options", "token_by_token"]


def model_options(type: str) -> dict[str, Any]:
    """The keyword options of a model with their defaults."""
    parameters = inspect.signature(MODELS[type]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def token_by_token(
    model: Layer, params: Tree, stats: Tree, block_size: int
) -> tuple[Chain, Tree, Tree]:
    """A model of ready windows as one of tokens, for ``step``: with the last ids as its cache."""
    chain = Chain(windows=Windows(block_size), model=model)
    return chain, {"windows": {}, "model": params}, {"windows": {}, "model": stats}
