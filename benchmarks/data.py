"""The words that every contestant trains on: those of ``corpus_path()``, in the seeds' split."""

import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxmore.data import (
    NAMES_SHA256,
    Vocabulary,
    context_windows,
    corpus_path,
    read_words,
    sequences,
    split_words,
)


class Corpus(NamedTuple):
    words: list[str]
    """Of the training split."""
    vocab: Vocabulary
    block_size: int
    """The longest word of all splits and its end, as in makemore.py."""

    def windows(self, block_size: int) -> tuple[np.ndarray, np.ndarray]:
        return context_windows(self.words, self.vocab, block_size)

    def sequences(self) -> tuple[np.ndarray, np.ndarray]:
        return sequences(self.words, self.vocab, self.block_size)


def require_names() -> None:
    """Refuse words other than makemore's names.txt, whose figures would not be comparable."""
    if hashlib.sha256(Path(corpus_path()).read_bytes()).hexdigest() != NAMES_SHA256:
        raise SystemExit("set JAXMORE_NAMES to makemore's names.txt (jaxmore data --download)")


@cache
def corpus() -> Corpus:
    words = read_words(corpus_path())
    longest = max(map(len, words))
    return Corpus(split_words(words).train, Vocabulary.from_words(words), longest + 1)
