"""The examples, grouped by distinct context.

The 182,625 examples of the training names have 5,438 distinct contexts of three characters.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxmore.data import Vocabulary, context_windows
from jaxmore.training.evaluation import distinct_rows


class Contexts(NamedTuple):
    """The distinct contexts of some words."""

    ids: Int[np.ndarray, "D T"]
    """In lexicographic order."""
    which: Int[np.ndarray, " n"]
    """The context of each example, in the order of the words."""
    counts: Int[np.ndarray, " D"]
    """How often each context occurs."""
    next: Float[np.ndarray, "D V"]
    """How often each id follows each context; a row sums to 1."""


def distinct_contexts(words: Sequence[str], vocab: Vocabulary, block_size: int) -> Contexts:
    """Find the contexts and count the characters that follow each of them."""
    X, Y = context_windows(words, vocab, block_size)
    ids, order, ordered = distinct_rows(X)
    pairs = ordered * vocab.size + Y[order]
    following = np.bincount(pairs, minlength=len(ids) * vocab.size).reshape(-1, vocab.size)
    counts = following.sum(1)
    which = np.empty_like(ordered)
    which[order] = ordered
    return Contexts(ids, which, counts, (following / counts[:, None]).astype(np.float32))
