"""The words that everyone trains on: ``corpus_path()``'s, in the seeds' split."""

from functools import cache
from typing import NamedTuple

import numpy as np

from jaxmore.data import (
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


@cache
def corpus() -> Corpus:
    words = read_words(corpus_path())
    longest = max(map(len, words))
    return Corpus(split_words(words).train, Vocabulary.from_words(words), longest + 1)
