"""Models: compositions of layers, with one file per family."""

import inspect
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from jaxmore.errors import InputError
from jaxmore.layers import Chain, Layer, Tree, Windows
from jaxmore.models._bow import bow
from jaxmore.models._microgpt import microgpt
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
    """A model type, as chosen by ``--type`` on the command line."""

    make: Callable[..., Chain]
    """Builds the model from the vocabulary size and keyword options."""
    reads: Literal["windows", "sequences"]
    """windows: contexts (B, T) to logits (B, V); sequences: ids (B, T) to logits (B, T, V)."""
    cuts_words: bool = False
    """Whether ``block_size`` is independent of the words, and longer words are cut to it."""
    temperature: float = 1.0
    """The temperature of samples where none is given."""


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
    "microgpt": ModelType(microgpt, "sequences", cuts_words=True, temperature=0.5),
}
"""All model types; the first is the default."""

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
    "microgpt",
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
    """Return all keyword options of a model, with defaults for those not given.

    Args:
        type: one of ``MODELS``.
        longest_word: the length of the longest word. The default ``block_size`` of a model of
            sequences is one more, unless the type cuts words.
        **asked: sizes by name.

    Raises:
        InputError: if the model has no such option.
    """
    parameters = inspect.signature(MODELS[type].make).parameters.values()
    options = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    pads_words = MODELS[type].reads == "sequences" and not MODELS[type].cuts_words
    if longest_word is not None and pads_words:
        options |= {"block_size": longest_word + 1} if "block_size" in options else {}
    for name in asked:
        if name not in options:
            raise InputError(f"--{name.replace('_', '-')}: the type {type} has no such size")
    return options | asked


def token_by_token(
    model: Layer, params: Tree, stats: Tree, block_size: int
) -> tuple[Chain, Tree, Tree]:
    """Wrap a model of windows as one of sequences, so that ``step`` takes one token at a time."""
    chain = Chain(windows=Windows(block_size), model=model)
    return chain, {"windows": {}, "model": params}, {"windows": {}, "model": stats}
