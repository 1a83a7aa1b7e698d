"""The words of a run: read, split and turned into examples in the form that its model reads."""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmore.backprop import loss_and_grad
from jaxmore.data import (
    IntArray,
    Splits,
    Vocabulary,
    context_windows,
    corpus_path,
    read_words,
    seen_in_train,
    sequences,
    split_like_makemore,
    split_words,
    unique_words,
)
from jaxmore.errors import InputError
from jaxmore.layers import Chain
from jaxmore.models import MODELS

MAKEMORE_SEED = 3407
"""makemore.py's ``--seed``: it decides which words are held out."""


class Corpus(NamedTuple):
    """A file of words, read and split as the type's source splits it."""

    path: Path
    sha256: str
    unique: bool
    splits: Splits

    @property
    def vocab(self) -> Vocabulary:
        """The characters of all splits."""
        return Vocabulary.from_words(word for split in self.splits for word in split)

    def block_size(self, options: dict[str, Any]) -> int:
        """T: as the model's options say, or else room for the longest word and its start."""
        return options.get("block_size", self.longest_word + 1)

    @property
    def longest_word(self) -> int:
        """The length of the longest word of all splits."""
        return max(len(word) for split in self.splits for word in split)


def read_corpus(
    type: str, input_file: str | None, *, unique: bool, makemore_seed: int = MAKEMORE_SEED
) -> Corpus:
    """Read and split the words of a run.

    Types that read windows have the notebooks' split (80 %, 10 %, 10 %), those that read
    sequences makemore.py's, which has no dev words.

    Raises:
        InputError: the words cannot be read, or a split comes out empty.
    """
    path = corpus_path(input_file)
    words = read_words(path, like_makemore=MODELS[type].reads == "sequences")
    words = unique_words(words) if unique else words
    splits = (
        split_words(words)
        if MODELS[type].reads == "windows"
        else split_like_makemore(words, makemore_seed)
    )
    return Corpus(path, hashlib.sha256(path.read_bytes()).hexdigest(), unique, splits)


def examples(
    type: str, words: Sequence[str], vocab: Vocabulary, block_size: int
) -> tuple[IntArray, IntArray]:
    """X and Y of some words: windows (n, T) and (n,), or sequences (n, T) and (n, T)."""
    make = context_windows if MODELS[type].reads == "windows" else sequences
    return make(words, vocab, block_size)


def _batch_shapes(
    type: str, batch_size: int, block_size: int
) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """The shapes of a batch of :func:`examples`."""
    x = (batch_size, block_size)
    y = (batch_size,) if MODELS[type].reads == "windows" else x
    return jax.ShapeDtypeStruct(x, jnp.int32), jax.ShapeDtypeStruct(y, jnp.int32)


def describe_corpus(
    corpus: Corpus, vocab: Vocabulary, data: dict[str, tuple[IntArray, IntArray]]
) -> str:
    """What a run tells of its words before it begins."""
    splits = corpus.splits
    names = [name for name in Splits._fields if getattr(splits, name)]
    in_dev, in_test = seen_in_train(splits)
    seen = {"dev": in_dev, "test": in_test}
    n_words = [f"{len(getattr(splits, name)):,}" for name in names]
    targets = [f"{int((data[name][1] != -1).sum()):,}" for name in names]
    also = ", ".join(f"{seen[name]:,} of the {name} words" for name in names if name in seen)
    return (
        f"{corpus.path}: {sum(map(len, splits)):,} words, {len(vocab.characters)} characters\n"
        f"{' / '.join(names)}: {' / '.join(n_words)} words, "
        f"{' / '.join(targets)} characters to predict\n"
        f"also in train: {also}"
    )


def build_model(
    type: str, vocab_size: int, options: dict[str, Any], *, batch_size: int, block_size: int
) -> Chain:
    """A model that takes batches of :func:`examples`; tried by shapes alone, nothing is computed.

    Raises:
        InputError: there is no such model, or it cannot take such a batch: heads that do not
            divide the width, a batch of one under BatchNorm.
    """
    try:
        model = MODELS[type].make(vocab_size, **options)
        params = jax.eval_shape(model.init, jax.random.key(0))
        batch = _batch_shapes(type, batch_size, block_size)
        jax.eval_shape(partial(loss_and_grad, model), params, *batch)
    except InputError:
        raise
    except ValueError as error:
        sizes = "".join(f" --{k.replace('_', '-')} {v}" for k, v in options.items())
        raise InputError(f"{type} with{sizes} --batch-size {batch_size}: {error}") from error
    return model
