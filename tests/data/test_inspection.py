"""Characters that nobody sees: named, found, and never obeyed by a terminal."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmore.data import character_name, hidden_characters, printable


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["emma", "mary ann", "e.g.", "zoë", "美咲", "🦊"], []),
        (["a\ufeffb", "\ufeff", "c"], ["U+FEFF ZERO WIDTH NO-BREAK SPACE in 2 lines"]),
        (["a\x1b[31m"], ["U+001B ESCAPE in 1 line"]),
        (["a\x01\x01", "b\x01"], ["U+0001 CONTROL CHARACTER in 2 lines"]),
        (["a\xadb"], ["U+00AD SOFT HYPHEN in 1 line"]),
        (["a\xa0b"], ["U+00A0 NO-BREAK SPACE in 1 line"]),
        (["a\u202eb"], ["U+202E RIGHT-TO-LEFT OVERRIDE in 1 line"]),
        (["a\u2800"], ["U+2800 BRAILLE PATTERN BLANK in 1 line"]),
        (["a\tb"], ["U+0009 CHARACTER TABULATION in 1 line"]),
        (["❤\ufe0f"], ["U+FE0F VARIATION SELECTOR-16 in 1 line"]),
        (["\ue000"], ["U+E000 PRIVATE USE CHARACTER in 1 line"]),
        (
            ["x\u200by\u200b", "\u200b\x07"],
            ["U+0007 ALERT in 1 line", "U+200B ZERO WIDTH SPACE in 2 lines"],
        ),
    ],
)
def test_hidden_characters_are_named(words: list[str], found: list[str]) -> None:
    assert list(map(str, hidden_characters(words))) == found


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["man\u0303ana", "ma\xf1ana", "ni\xf1o"], [("n\u0303", "ñ", 1), ("ñ", "ñ", 2)]),
        (["n\u0303", "n"], []),  # decomposed everywhere: one spelling
        (["ñ", "n"], []),
        (
            ["\u1ebf", "e\u0302\u0301", "ê\u0301"],
            [("e\u0302\u0301", "ế", 1), ("ê\u0301", "ế", 1), ("ế", "ế", 1)],
        ),
        (["\u212b", "\xc5"], [("\u212b", "Å", 1), ("Å", "Å", 1)]),  # the sign of the ångström
        (["한", "\u1112\u1161\u11ab"], [("\u1112\u1161\u11ab", "한", 1), ("한", "한", 1)]),
        (["x\u0303"], []),  # there is no composed form
    ],
)
def test_letters_spelled_in_two_ways_are_named(
    words: list[str], found: list[tuple[str, str, int]]
) -> None:
    assert hidden_characters(words) == found


def test_a_spelling_is_told_by_code_points() -> None:
    assert list(map(str, hidden_characters(["ñ", "n\u0303"]))) == [
        "ñ spelled as U+006E LATIN SMALL LETTER N + U+0303 COMBINING TILDE in 1 line",
        "ñ spelled as U+00F1 LATIN SMALL LETTER N WITH TILDE in 1 line",
    ]


@given(words=st.lists(st.text(max_size=8), max_size=8))
def test_only_what_is_there_is_found(words: list[str]) -> None:
    for found in hidden_characters(words):
        assert 1 <= found.n_lines == sum(found.spelling in word for word in words) or (
            found.looks_like and found.n_lines >= 1
        )
        assert "\n" not in str(found)


def test_the_alphabet_of_a_large_file_has_no_hidden_character(seed_names: list[str]) -> None:
    assert hidden_characters(seed_names) == []


@given(st.text())
def test_what_is_printed_is_not_obeyed(text: str) -> None:
    shown = printable(text)
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in shown)
    assert not set(shown) & set("\u200e\u200f\u202a\u202e\u2066\u2069\u061c")
    assert len(shown.splitlines()) <= 1
    shown.encode()


def test_what_scripts_need_stays() -> None:
    for text in ("mary ann", "می\u200cروم", "👩\u200d💻", "e\u0301", "C:\\x1b", "a\xa0b"):
        assert printable(text) == text
    assert printable("\x1b[2J\x9b\u2028\udcff") == r"\x1b[2J\x9b\u2028\udcff"


def test_names() -> None:
    assert character_name("a") == "U+0061 LATIN SMALL LETTER A"
    assert character_name("\x85") == "U+0085 NEXT LINE"
    assert character_name("\U0001f600") == "U+1F600 GRINNING FACE"
