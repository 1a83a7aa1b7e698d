"""Context windows, held against the loop of the seeds."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmore.data import (
    Vocabulary,
    context_windows,
    printable,
    trace_windows,
)
from jaxmore.errors import InputError
from tests.data.strategies import letters, words_of_any_kind


def build_dataset(words: list[str], block_size: int) -> tuple[list[list[int]], list[int]]:
    """The loop of seeds 000 to 004, with an id for the boundary in the place of their "."."""
    chars = sorted(set("".join(words)))
    stoi = {s: i + 1 for i, s in enumerate(chars)}
    X: list[list[int]] = []
    Y: list[int] = []
    for w in words:
        context = [0] * block_size
        for ix in [*(stoi[ch] for ch in w), 0]:
            X.append(context)
            Y.append(ix)
            context = [*context[1:], ix]
    return X, Y


@given(words=words_of_any_kind, block_size=st.integers(1, 12))
def test_windows_are_those_of_the_seeds_loop(words: list[str], block_size: int) -> None:
    vocab = Vocabulary.from_words(words)
    X, Y = context_windows(words, vocab, block_size)
    expected_X, expected_Y = build_dataset(words, block_size)
    assert X.shape == (len(Y), block_size)
    assert Y.shape == (sum(len(word) + 1 for word in words),)
    assert X.dtype == Y.dtype == vocab.encode("").dtype
    assert X.tolist() == expected_X
    assert Y.tolist() == expected_Y


def test_windows_of_the_seeds_first_words() -> None:
    # Printed in seed 002, Out[21], for the first two of its words.
    vocab = Vocabulary("abcdefghijklmnopqrstuvwxyz")
    X, Y = context_windows(["emma", "olivia"], vocab, 3)
    assert X.tolist() == [
        [0, 0, 0],
        [0, 0, 5],
        [0, 5, 13],
        [5, 13, 13],
        [13, 13, 1],
        [0, 0, 0],
        [0, 0, 15],
        [0, 15, 12],
        [15, 12, 9],
        [12, 9, 22],
        [9, 22, 9],
        [22, 9, 1],
    ]
    assert Y.tolist() == [5, 13, 13, 1, 0, 15, 12, 9, 22, 9, 1, 0]


def test_no_words_and_empty_words_have_windows_too() -> None:
    X, Y = context_windows([], Vocabulary("a"), 3)
    assert X.shape == (0, 3)
    assert Y.shape == (0,)
    X, Y = context_windows([""], Vocabulary("a"), 3)
    assert X.tolist() == [[0, 0, 0]]
    assert Y.tolist() == [0]


def test_windows_are_arrays_of_their_own() -> None:
    X, Y = context_windows(["ab"], Vocabulary("ab"), 2)
    X[:] = 1
    Y[:] = -1
    assert X.flags.c_contiguous


@pytest.mark.parametrize("block_size", [0, -3])
def test_a_context_holds_at_least_one_character(block_size: int) -> None:
    with pytest.raises(InputError, match=f"at least 1, got {block_size}"):
        context_windows(["ab"], Vocabulary("ab"), block_size)
    with pytest.raises(InputError, match=f"at least 1, got {block_size}"):
        trace_windows("ab", block_size)


def test_a_full_stop_is_no_boundary() -> None:
    X, Y = context_windows(["a.b", "."], Vocabulary(".ab"), 2)
    assert X.tolist() == [[0, 0], [0, 2], [2, 1], [1, 3], [0, 0], [0, 1]]
    assert Y.tolist() == [2, 1, 3, 0, 1, 0]


def test_a_word_of_another_vocabulary_is_refused() -> None:
    with pytest.raises(InputError, match="unknown character 'c'"):
        context_windows(["ab", "abc"], Vocabulary("ab"), 3)


def test_trace_prints_what_seed_002_prints() -> None:
    assert trace_windows("olivia", 3) == [
        "olivia",
        "... ------> o",
        "..o ------> l",
        ".ol ------> i",
        "oli ------> v",
        "liv ------> i",
        "ivi ------> a",
        "via ------> .",
    ]
    assert trace_windows("é", 1) == ["é", ". ------> é", "é ------> ."]
    assert trace_windows("", 2) == ["", ".. ------> ."]
    assert trace_windows("a.", 1) == ["a.", "| ------> a", "a ------> .", ". ------> |"]
    assert trace_windows("\x1b\u200d", 1) == [
        r"\x1b" + "\u200d",
        r". ------> \x1b",
        r"\x1b ------> " + "\u200d",
        "\u200d ------> .",
    ]


@given(word=st.text(letters, max_size=8), block_size=st.integers(1, 12))
def test_trace_spells_the_windows(word: str, block_size: int) -> None:
    vocab = Vocabulary.from_words([word])
    X, Y = context_windows([word], vocab, block_size)
    contexts = ["".join(vocab.itos[i] for i in x) for x in X.tolist()]
    lines = [f"{x} ------> {vocab.itos[y]}" for x, y in zip(contexts, Y.tolist(), strict=True)]
    assert trace_windows(word, block_size) == [printable(line) for line in [word, *lines]]


def test_golden_windows_equal_the_seeds_loop(seed_names: list[str]) -> None:
    words = seed_names
    X, Y = context_windows(words, Vocabulary.from_words(words), 3)
    assert X.shape == (228_146, 3)
    assert X.dtype == Y.dtype == np.int8
    expected_X, expected_Y = build_dataset(words, 3)
    np.testing.assert_array_equal(X, np.array(expected_X))
    np.testing.assert_array_equal(Y, np.array(expected_Y))


def test_golden_windows_are_lean(seed_names: list[str]) -> None:
    words = seed_names
    vocab = Vocabulary.from_words(words)
    tracemalloc.start()
    try:
        _, Y = context_windows(words, vocab, 3)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The result takes 4 bytes a window. The seeds' lists took more than 100.
    assert peak < 12 * len(Y)
