"""Vocabularies: ids of characters and back."""

import numpy as np
import pytest
from hypothesis import given

from jaxmore.data import (
    Vocabulary,
)
from jaxmore.errors import InputError
from tests.data.strategies import words_of_any_kind
from tests.refusals import only_line


def test_ids_are_the_seeds() -> None:
    vocab = Vocabulary.from_words(["zyx", "emma", "abcdefghijklm", "nopqrstuvw"])
    assert vocab.characters == "abcdefghijklmnopqrstuvwxyz"
    assert vocab.size == 27
    assert vocab.encode("emma.").tolist() == [5, 13, 13, 1, 0]
    assert vocab.decode([5, 13, 13, 1, 0]) == "emma."


def test_vocabularies_are_values() -> None:
    one, other = Vocabulary.from_words(["ab"]), Vocabulary.from_words(["b", "a"])
    assert one == other
    assert hash(one) == hash(other)
    assert one != Vocabulary("abc")
    assert repr(one) == "Vocabulary(characters='ab')"
    with pytest.raises(AttributeError):
        one.characters = "c"  # pyright: ignore[reportAttributeAccessIssue]


@given(words=words_of_any_kind)
def test_encode_and_decode_undo_each_other(words: list[str]) -> None:
    vocab = Vocabulary.from_words(words)
    for word in [*words, "", "."]:
        ids = vocab.encode(word)
        assert ids.shape == (len(word),)
        assert vocab.decode(ids) == word
    everything = np.arange(vocab.size)
    assert vocab.encode(vocab.decode(everything)).tolist() == everything.tolist()


@pytest.mark.parametrize("word", ["é", "aé", "\0", "\U0010ffff", "\udcff", "\n", "A", "ab c"])
def test_an_unknown_character_is_named(word: str) -> None:
    unknown = next(character for character in word if character not in "abc")
    with pytest.raises(InputError) as error:
        Vocabulary("abc").encode(word)
    assert only_line(error) == f"unknown character {unknown!r}: the vocabulary holds 'abc'"


def test_a_large_vocabulary_is_named_briefly() -> None:
    with pytest.raises(InputError) as error:
        Vocabulary("".join(map(chr, range(1000, 3000)))).encode("a")
    assert len(only_line(error)) < 100


@pytest.mark.parametrize("ids", [[-1], [0, 3], [2, 1, 99]])
def test_decode_refuses_what_is_no_id(ids: list[int]) -> None:
    with pytest.raises(ValueError, match=r"0\.\.2"):
        Vocabulary("ab").decode(ids)


def test_decode_takes_any_array_of_integers() -> None:
    vocab = Vocabulary("ab")
    assert vocab.decode([]) == ""
    assert vocab.decode(np.array([1, 0, 2], np.uint8)) == "a.b"
    assert vocab.decode((2, 2)) == "bb"


def test_decode_words_ends_each_row_at_its_boundary() -> None:
    vocab = Vocabulary("aé\U0001f600")
    rows = np.array([[1, 2, 3, 1], [0, 1, 2, 3], [3, 0, 0, 0], [2, 0, 3, 3], [1, 1, 1, 0]])
    want = [vocab.decode(row).split(".")[0] for row in rows]
    assert vocab.decode_words(rows) == want
    assert vocab.decode_words(np.asfortranarray(rows)) == want
    assert vocab.decode_words(np.zeros((0, 4), int)) == []
    for wrong in (-1, 4):
        with pytest.raises(ValueError, match=r"ids must lie in 0\.\.3"):
            vocab.decode_words([[0, wrong]])


@pytest.mark.parametrize("characters", ["ba", "aa", "a.", "abca"])
def test_a_vocabulary_is_sorted_distinct_and_without_boundary(characters: str) -> None:
    with pytest.raises(InputError):
        Vocabulary(characters)


def test_words_with_a_boundary_make_no_vocabulary() -> None:
    with pytest.raises(InputError, match=r"'\.'"):
        Vocabulary.from_words(["st. john"])


@pytest.mark.parametrize(
    ("size", "dtype"),
    [(1, np.int8), (128, np.int8), (129, np.int16), (32768, np.int16), (32769, np.int32)],
)
def test_ids_take_the_smallest_type_that_holds_them_and_minus_one(size: int, dtype: type) -> None:
    vocab = Vocabulary("".join(map(chr, range(0x10000, 0x10000 + size - 1))))
    ids = vocab.encode("." + vocab.characters[-1:])
    assert vocab.size == size
    assert ids.dtype == dtype
    assert ids.tolist() == sorted({0, size - 1})
    assert np.array(-1, ids.dtype) == -1
