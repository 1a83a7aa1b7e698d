"""Training examples in NumPy: context windows, and makemore.py's sequences."""

import reprlib
from collections.abc import Sequence

import numpy as np

from jaxmore.data.inspection import printable
from jaxmore.data.vocabulary import IntArray, Vocabulary, boundary_mark
from jaxmore.errors import InputError


def context_windows(
    words: Sequence[str], vocab: Vocabulary, block_size: int
) -> tuple[IntArray, IntArray]:
    """Make one training example per character: the `block_size` ids before it, and its own.

    A word of n characters gives n + 1 windows, the last of which predicts the boundary. The
    context starts as boundaries only and never reaches into the word before. With y the ids of
    all words, each followed by its boundary, the id s places before window i is

        X[i, -s] = y[i - s]  if s = 1 or X[i, -(s - 1)] != 0,  else 0

    because a boundary in the context has only boundaries before it. The order is that of the loop
    in makemore's notebooks (`build_dataset`), at one pass of NumPy per column.

    Args:
        words: any number of words.
        vocab: the vocabulary of their characters, V ids.
        block_size: T >= 1, the length of the context.

    Returns:
        X (N, T) and Y (N,) with N = sum(len(word) + 1), in the dtype of `Vocabulary.encode`.

    Raises:
        InputError: `block_size` < 1, or an unknown character.

    >>> X, Y = context_windows(["ava"], Vocabulary("av"), 3)
    >>> X.tolist(), Y.tolist()
    ([[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 1]], [1, 2, 1, 0])
    """
    _check_block_size(block_size)
    Y = vocab.encode_words(words)
    X = np.zeros((len(Y), block_size), Y.dtype)
    X[1:, -1] = Y[:-1]
    for s in range(2, block_size + 1):
        X[s:, -s] = Y[:-s] * (X[s:, 1 - s] != 0)
    return X, Y


def trace_windows(word: str, block_size: int = 3) -> list[str]:
    r"""Spell out the windows of one word, as makemore's notebooks print them.

    Args:
        word: any characters; no vocabulary is needed. "." stands for the boundary, or another mark
            where the word holds it. Control characters are escaped.
        block_size: the length of the context, at least 1.

    Returns:
        The word, then one line for each of its len(word) + 1 windows.

    Raises:
        InputError: `block_size` < 1.

    >>> print(*trace_windows("ava", 3), sep="\n")
    ava
    ... ------> a
    ..a ------> v
    .av ------> a
    ava ------> .
    """
    _check_block_size(block_size)
    mark = boundary_mark(word)
    padded = mark * block_size + word + mark
    windows = (padded[i : i + block_size + 1] for i in range(len(word) + 1))
    lines = [word, *(f"{window[:-1]} ------> {window[-1]}" for window in windows)]
    return [printable(line) for line in lines]


def _check_block_size(block_size: int) -> None:
    if block_size < 1:
        raise InputError(f"the block size must be at least 1, got {block_size}")


def sequences(
    words: Sequence[str], vocab: Vocabulary, block_size: int | None = None
) -> tuple[IntArray, IntArray]:
    """Make one training example per word: its characters, and what follows each of them.

    This is makemore.py's form. For a word w of n characters

        x = [0, w_1, ..., w_n, 0, ..., 0]    y = [w_1, ..., w_n, 0, -1, ..., -1]

    both of length T: x begins with the boundary, y ends with it, and -1 means no target.

    Args:
        words: N words, any number.
        vocab: the vocabulary of their characters, V ids.
        block_size: T; None for the length of the longest word and 1, as in makemore.py (16 at
            its names.txt).

    Returns:
        X (N, T) and Y (N, T), in the dtype of `Vocabulary.encode`.

    Raises:
        InputError: `block_size` is less than that, or an unknown character.

    >>> X, Y = sequences(["ava", "v"], Vocabulary("av"))
    >>> X.tolist(), Y.tolist()
    ([[0, 1, 2, 1], [0, 2, 0, 0]], [[1, 2, 1, 0], [2, 0, -1, -1]])
    """
    ids = vocab.encode_words(words)
    longest = max(words, key=len, default="")
    if block_size is None:
        block_size = len(longest) + 1
    _check_block_size(block_size)
    if block_size <= len(longest):
        raise InputError(
            f"the word {reprlib.repr(longest)} needs a block size of at least {len(longest) + 1}, "
            f"got {block_size}"
        )
    # Row by row, each word and its boundary fill the first n + 1 places of Y.
    lengths = np.fromiter(map(len, words), np.intp, len(words))
    filled = np.arange(block_size) <= lengths[:, None]
    Y = np.full(filled.shape, -1, ids.dtype)
    Y[filled] = ids
    X = np.zeros_like(Y)
    np.maximum(Y[:, :-1], 0, out=X[:, 1:])
    return X, Y


def cut_sequences(
    words: Sequence[str], vocab: Vocabulary, block_size: int
) -> tuple[IntArray, IntArray]:
    """Make sequences as :func:`sequences` does, but keep the first T places of longer words.

    This is microgpt's form. A word of T or more characters has no boundary at its end.

    >>> X, Y = cut_sequences(["ava", "v"], Vocabulary("av"), 2)
    >>> X.tolist(), Y.tolist()
    ([[0, 1], [0, 2]], [[1, 2], [2, 0]])
    """
    _check_block_size(block_size)
    X, Y = sequences([word[:block_size] for word in words], vocab, block_size + 1)
    return np.ascontiguousarray(X[:, :-1]), np.ascontiguousarray(Y[:, :-1])
