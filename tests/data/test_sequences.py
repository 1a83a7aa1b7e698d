"""makemore.py's data: one sequence per word."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmore.data import Vocabulary, sequences
from jaxmore.errors import InputError


def one_by_one(words: list[str], characters: str, block_size: int) -> tuple[list[Any], list[Any]]:
    """makemore.py's form, spelled out word by word."""
    xs, ys = [], []
    for word in words:
        ids = [characters.index(c) + 1 for c in word]
        xs.append([0, *ids] + [0] * (block_size - len(ids) - 1))
        ys.append([*ids, 0] + [-1] * (block_size - len(ids) - 1))
    return xs, ys


@given(st.lists(st.text("abz", max_size=6), min_size=1, max_size=9), st.integers(0, 3))
def test_sequences_are_makemores(words: list[str], room: int) -> None:
    longest = max(map(len, words))
    vocab = Vocabulary("abz")
    X, Y = sequences(words, vocab, longest + 1 + room)
    assert (X.tolist(), Y.tolist()) == one_by_one(words, "abz", longest + 1 + room)
    assert X.shape == Y.shape == (len(words), longest + 1 + room)
    if not room:
        np.testing.assert_array_equal([X, Y], sequences(words, vocab))


def test_each_target_is_the_next_input() -> None:
    X, Y = sequences(["ava", "b", ""], Vocabulary("abv"), 7)
    np.testing.assert_array_equal(np.maximum(Y[:, :-1], 0), X[:, 1:])
    assert (Y >= 0).sum() == 4 + 2 + 1


def test_a_full_stop_is_no_boundary() -> None:
    X, Y = sequences(["a.", "."], Vocabulary(".a"))
    assert X.tolist() == [[0, 2, 1], [0, 1, 0]]
    assert Y.tolist() == [[2, 1, 0], [1, 0, -1]]


def test_no_words_have_the_shape_of_no_words() -> None:
    X, Y = sequences([], Vocabulary("a"))
    assert X.shape == Y.shape == (0, 1)
    assert sequences([], Vocabulary("a"), 5)[0].shape == (0, 5)


@pytest.mark.parametrize(("size", "dtype"), [(26, "int8"), (127, "int8"), (128, "int16")])
def test_ids_and_minus_one_take_the_smallest_type(size: int, dtype: str) -> None:
    letters = "".join(map(chr, range(0x100, 0x100 + size)))
    X, Y = sequences([letters], Vocabulary(letters))
    assert X.dtype == Y.dtype == dtype
    assert Y.max() == size
    assert X.min() == 0


def test_the_arrays_are_their_own() -> None:
    X, Y = sequences(["ab"], Vocabulary("ab"))
    X[:] = 9
    assert Y.tolist() == [[1, 2, 0]]
    assert X.flags.c_contiguous and Y.flags.c_contiguous


@pytest.mark.parametrize(
    ("words", "block_size", "message"),
    [
        (["ab", "abba", "ba"], 4, "'abba' needs a block size of at least 5, got 4"),
        (["ab"], 0, "at least 1, got 0"),
        (["ab", "a.b"], None, r"unknown character '\.'"),
        (["|"], None, r"unknown character '\|'"),
        (["ab", "axb"], None, "unknown character 'x'"),
    ],
)
def test_what_makes_no_sequence_is_named(
    words: list[str], block_size: int | None, message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        sequences(words, Vocabulary("ab"), block_size)
    assert len(str(error.value).splitlines()) == 1


def test_a_long_word_is_named_briefly() -> None:
    with pytest.raises(InputError) as error:
        sequences(["ab" * 1000], Vocabulary("ab"), 16)
    assert len(str(error.value)) < 100


def test_golden_sequences(seed_names: list[str]) -> None:
    vocab = Vocabulary.from_words(seed_names)
    tracemalloc.start()
    X, Y = sequences(seed_names, vocab)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert X.shape == Y.shape == (32_033, 16)
    assert (Y >= 0).sum() == 228_146
    assert (Y == 0).sum() == 32_033
    assert X[0].tolist() == [0, 5, 13, 13, 1, *[0] * 11]
    assert Y[0].tolist() == [5, 13, 13, 1, 0, *[-1] * 11]
    assert peak < 12 * X.nbytes
