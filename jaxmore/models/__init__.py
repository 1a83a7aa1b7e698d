"""Models: compositions of layers only, one file per family."""

import inspect
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from jaxmore.errors import InputError
from jaxmore.layers import Chain, Layer, Tree, Windows
from jaxmore.models._bow import bow
from jaxmore.models._mlp import bengio, deep_mlp_bn, mlp, mlp_bn
from jaxmore.models._ngram import (
    bigram,
    count_ngrams,
    log_probabilities,
    mean_nll,
    ngram,
    train_neural_ngram,
)
from jaxmore.models._recurrent import gru, lstm, rnn
from jaxmore.models._transformer import transformer
from jaxmore.models._wavenet import wavenet


class ModelType(NamedTuple):
    """A ``--type`` of the command line."""

    make: Callable[..., Chain]
    """From the size of the vocabulary, and options by name."""
    reads: Literal["windows", "sequences"]
    """windows: contexts (B, T) to logits (B, V). sequences: ids (B, T) to logits (B, T, V)."""


MODELS: dict[str, ModelType] = {
    "mlp-bn": ModelType(mlp_bn, "windows"),
    "bengio": ModelType(bengio, "windows"),
    "deep-mlp-bn": ModelType(deep_mlp_bn, "windows"),
    "wavenet": ModelType(wavenet, "windows"),
    "bigram": ModelType(bigram, "sequences"),
    "mlp": ModelType(mlp, "sequences"),
    "bow": ModelType(bow, "sequences"),
    "rnn": ModelType(rnn, "sequences"),
    "gru": ModelType(gru, "sequences"),
    "lstm": ModelType(lstm, "sequences"),
    "transformer": ModelType(transformer, "sequences"),
}
"""Every type, the default first."""

__all__ = [
    "MODELS",
    "ModelType",
    "bengio",
    "bigram",
    "bow",
    "count_ngrams",
    "deep_mlp_bn",
    "gru",
    "log_probabilities",
    "lstm",
    "mean_nll",
    "mlp",
    "mlp_bn",
    "model_options",
    "ngram",
    "rnn",
    "token_by_token",
    "train_neural_ngram",
    "transformer",
    "wavenet",
]


def model_options(type: str, *, longest_word: int | None = None, **asked: int) -> dict[str, Any]:
    """Every keyword option of a model: those that are asked for, else its defaults.

    Args:
        type: one of ``MODELS``.
        longest_word: of the words; a model of sequences reads one more place by default.
        **asked: sizes by name.

    Raises:
        InputError: the model has no such option.
    """
    parameters = inspect.signature(MODELS[type].make).parameters.values()
    options = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    if longest_word is not None and MODELS[type].reads == "sequences":
        options |= {"block_size": longest_word + 1} if "block_size" in options else {}
    for name in asked:
        if name not in options:
            raise InputError(f"--{name.replace('_', '-')}: the type {type} has no such size")
    return options | asked


def token_by_token(
    model: Layer, params: Tree, stats: Tree, block_size: int
) -> tuple[Chain, Tree, Tree]:
    """A model of ready windows as one of tokens, for ``step``: with the last ids as its cache."""
    chain = Chain(windows=Windows(block_size), model=model)
    return chain, {"windows": {}, "model": params}, {"windows": {}, "model": stats}
