"""Characters that nobody sees: naming them, finding them, and printing text without them."""

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

# What Unicode calls <control>, by its aliases.
CONTROL_NAMES = {
    0x00: "NULL",
    0x07: "ALERT",
    0x08: "BACKSPACE",
    0x09: "CHARACTER TABULATION",
    0x0A: "LINE FEED",
    0x0B: "LINE TABULATION",
    0x0C: "FORM FEED",
    0x0D: "CARRIAGE RETURN",
    0x1B: "ESCAPE",
    0x1C: "INFORMATION SEPARATOR FOUR",
    0x1D: "INFORMATION SEPARATOR THREE",
    0x1E: "INFORMATION SEPARATOR TWO",
    0x1F: "INFORMATION SEPARATOR ONE",
    0x7F: "DELETE",
    0x85: "NEXT LINE",
    0x9B: "CONTROL SEQUENCE INTRODUCER",
}
# Printable for Python, and yet without a shape: fillers, joiners, variation selectors.
BLANK = {
    *map(chr, (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0)),
    *map(chr, (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))),
}
# These reorder the text around them, so a terminal shows other text than there is.
REORDERING = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}


class HiddenCharacter(NamedTuple):
    """A character that nobody sees, or one of several spellings of the same letter."""

    spelling: str
    """The character; the code points of a decomposed letter."""
    looks_like: str | None
    """The letter, where the words spell it in more than one way; else None."""
    n_lines: int
    """How many words hold it."""

    @property
    def name(self) -> str:
        """Code point and Unicode name of each part."""
        return " + ".join(map(character_name, self.spelling))

    def __str__(self) -> str:
        lines = f"in {self.n_lines:,} line{'s' * (self.n_lines != 1)}"
        as_letter = f"{self.looks_like} spelled as " if self.looks_like else ""
        return f"{as_letter}{self.name} {lines}"


def character_name(character: str) -> str:
    r"""Give the code point and the Unicode name of a character.

    >>> character_name("\ufeff"), character_name("\x1b")
    ('U+FEFF ZERO WIDTH NO-BREAK SPACE', 'U+001B ESCAPE')
    """
    code = ord(character)
    kinds = {"Cc": "CONTROL CHARACTER", "Cs": "SURROGATE", "Co": "PRIVATE USE CHARACTER"}
    kind = kinds.get(unicodedata.category(character), "UNASSIGNED CHARACTER")
    name = CONTROL_NAMES.get(code) or unicodedata.name(character, kind)
    return f"U+{code:04X} {name}"


def is_hidden(character: str) -> bool:
    """Tell whether a character leaves no mark of its own: control, format, blank but the space."""
    return not character.isprintable() or character in BLANK


def quoted(character: str) -> str:
    """Quote a character for an error message; name one that cannot be seen by itself."""
    if is_hidden(character) or unicodedata.combining(character):
        return character_name(character)
    return repr(character)


def printable(text: str) -> str:
    r"""Escape what a terminal would obey instead of show.

    These are control characters, line and paragraph separators, lone surrogates, and the controls
    that reorder text. Joiners stay: scripts and emoji need them.

    >>> print(printable("a\x1b[31mb"))
    a\x1b[31mb
    """
    if text.isprintable():
        return text
    return "".join(repr(c)[1:-1] if _is_obeyed(c) else c for c in text)


def _is_obeyed(character: str) -> bool:
    obeyed = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    return obeyed or ord(character) in REORDERING


def hidden_characters(words: Sequence[str]) -> list[HiddenCharacter]:
    r"""List the characters of `words` that nobody sees, and letters spelled in several ways.

    Args:
        words: any number of words, one a line.

    Returns:
        By code point, first each hidden character; then each spelling of a letter that occurs
        both composed and decomposed.

    >>> print(*hidden_characters(["a\u200b", "\xf1", "n\u0303"]), sep="\n")
    U+200B ZERO WIDTH SPACE in 1 line
    ñ spelled as U+006E LATIN SMALL LETTER N + U+0303 COMBINING TILDE in 1 line
    ñ spelled as U+00F1 LATIN SMALL LETTER N WITH TILDE in 1 line
    """
    hidden = {character for character in set("".join(words)) if is_hidden(character)}
    n_hidden = Counter(character for word in words for character in hidden.intersection(word))
    found = [HiddenCharacter(character, None, n) for character, n in sorted(n_hidden.items())]
    n_spelled = Counter(
        letter
        for word in words
        if not unicodedata.is_normalized("NFC", word)
        for letter in set(_letters(word))
        if not unicodedata.is_normalized("NFC", letter)
    )
    of_letter: dict[str, dict[str, int]] = {}
    for spelling, n in sorted(n_spelled.items()):
        of_letter.setdefault(unicodedata.normalize("NFC", spelling), {})[spelling] = n
    for letter, spellings in of_letter.items():
        if composed := sum(letter in word for word in words):
            spellings[letter] = composed
        if len(spellings) > 1:
            found += [HiddenCharacter(how, letter, n) for how, n in spellings.items()]
    return found


def _letters(word: str) -> Iterator[str]:
    """Cut a word before each character that does not combine with the one before it."""
    start = 0
    for place in range(1, len(word) + 1):
        if place == len(word) or not _combines(word[place]):
            yield word[start:place]
            start = place


def _combines(character: str) -> bool:
    # Vowels and final consonants of decomposed Hangul have no combining class.
    return bool(unicodedata.combining(character)) or "\u1160" <= character <= "\u11ff"
