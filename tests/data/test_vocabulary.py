"""Vocabularies: ids of characters and back."""

import numpy as np
import pytest
from hypothesis import given

from jaxmore.data import Vocabulary, boundary_mark
from jaxmore.errors import InputError
from tests.data.strategies import words_of_any_kind
from tests.refusals import only_line


def test_ids_are_the_seeds() -> None:
    vocab = Vocabulary.from_words(["zyx", "emma", "abcdefghijklm", "nopqrstuvw"])
    assert vocab.characters == "abcdefghijklmnopqrstuvwxyz"
    assert vocab.size == 27
    assert vocab.encode("emma").tolist() == [5, 13, 13, 1]
    assert vocab.decode([5, 13, 13, 1, 0, 5]) == "emma"
    assert len(vocab.itos) == 27
    assert [vocab.itos[i] for i in (0, 1, 26)] == [".", "a", "z"]


def test_a_full_stop_is_a_character_where_words_hold_it() -> None:
    vocab = Vocabulary.from_words(["st. ives", "e.g.", "."])
    assert vocab.characters == " .egistv"
    assert vocab.encode("e.g.").tolist() == [3, 2, 4, 2]
    assert vocab.decode([3, 2, 4, 2, 0, 1]) == "e.g."
    assert vocab.decode_words([[2, 0, 0], [0, 2, 2], [2, 2, 2]]) == [".", "", "..."]
    assert (vocab.itos[0], vocab.itos[2]) == ("|", ".")
    with pytest.raises(InputError, match=r"unknown character '\.'"):
        Vocabulary("abc").encode("a.b")


@given(words=words_of_any_kind)
def test_the_boundary_is_no_character(words: list[str]) -> None:
    vocab = Vocabulary.from_words(words)
    assert boundary_mark(vocab.characters) not in vocab.characters
    assert boundary_mark(vocab.characters) == "." or "." in vocab.characters
    assert len(set(vocab.itos.values())) == vocab.size
    assert vocab.encode("".join(words)).all()
    assert boundary_mark(".|_^~←") == "↑"


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
    for word in [*words, ""]:
        ids = vocab.encode(word)
        assert ids.shape == (len(word),)
        assert vocab.decode(ids) == word
    everything = np.arange(1, vocab.size)
    assert vocab.encode(vocab.decode(everything)).tolist() == everything.tolist()


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("é", "'é'"),
        ("aé", "'é'"),
        ("A", "'A'"),
        ("ab c", "' '"),
        (".", "'.'"),
        ("\0", "U+0000 NULL"),
        ("\n", "U+000A LINE FEED"),
        ("a\u200b", "U+200B ZERO WIDTH SPACE"),
        ("\ufeffa", "U+FEFF ZERO WIDTH NO-BREAK SPACE"),
        ("n\u0303", "'n'"),
        ("a\u0303", "U+0303 COMBINING TILDE"),
        ("\xa0", "U+00A0 NO-BREAK SPACE"),
        ("\u3164", "U+3164 HANGUL FILLER"),
        ("\udcff", "U+DCFF SURROGATE"),
        ("\U0010ffff", "U+10FFFF UNASSIGNED CHARACTER"),
    ],
)
def test_an_unknown_character_is_named(word: str, named: str) -> None:
    with pytest.raises(InputError) as error:
        Vocabulary("abc").encode(word)
    assert only_line(error) == f"unknown character {named}: the vocabulary holds 'abc'"


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
    assert vocab.decode(np.array([1, 0, 2], np.uint8)) == "a"
    assert vocab.decode((2, 2)) == "bb"


def test_decode_words_ends_each_row_at_its_boundary() -> None:
    vocab = Vocabulary("aé\U0001f600")
    rows = np.array([[1, 2, 3, 1], [0, 1, 2, 3], [3, 0, 0, 0], [2, 0, 3, 3], [1, 1, 1, 0]])
    want = ["aé\U0001f600a", "", "\U0001f600", "é", "aaa"]
    assert [vocab.decode(row) for row in rows] == want
    assert vocab.decode_words(rows) == want
    assert vocab.decode_words(np.asfortranarray(rows)) == want
    assert vocab.decode_words(np.zeros((0, 4), int)) == []
    for wrong in (-1, 4):
        with pytest.raises(ValueError, match=r"ids must lie in 0\.\.3"):
            vocab.decode_words([[0, wrong]])


@pytest.mark.parametrize("characters", ["ba", "aa", "a.", "abca"])
def test_a_vocabulary_is_sorted_and_distinct(characters: str) -> None:
    with pytest.raises(InputError):
        Vocabulary(characters)


@pytest.mark.parametrize(
    ("size", "dtype"),
    [(1, np.int8), (128, np.int8), (129, np.int16), (32768, np.int16), (32769, np.int32)],
)
def test_ids_take_the_smallest_type_that_holds_them_and_minus_one(size: int, dtype: type) -> None:
    vocab = Vocabulary("".join(map(chr, range(0x10000, 0x10000 + size - 1))))
    ids = vocab.encode(vocab.characters[-1:])
    assert vocab.size == size
    assert ids.dtype == dtype
    assert ids.tolist() == [size - 1] * (size > 1)
    assert np.array(-1, ids.dtype) == -1
