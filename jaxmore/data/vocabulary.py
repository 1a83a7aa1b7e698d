"""The characters of a corpus and their ids.

The boundary, which starts and ends every word, is the id 0 and no character. The characters of the
corpus follow in sorted order from 1, as in makemore; "." is one of them if a word holds it.
"""

import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from jaxmore.data.inspection import quoted
from jaxmore.errors import InputError

BOUNDARY = 0
"""The id of the boundary."""

IntArray = npt.NDArray[np.signedinteger[Any]]


@dataclass(frozen=True)
class Vocabulary:
    """The characters of a corpus and their ids: `characters[i]` is i + 1, the boundary is 0.

    Immutable, hashable, equal by value.

    Attributes:
        characters: distinct and sorted by code point, without the boundary.

    Raises:
        InputError: `characters` are not distinct and sorted.

    >>> vocab = Vocabulary.from_words(["emma", "ava"])
    >>> vocab, vocab.size
    (Vocabulary(characters='aemv'), 5)
    >>> vocab.encode("emma")
    array([2, 3, 3, 1], dtype=int8)
    """

    characters: str

    def __post_init__(self) -> None:
        if list(self.characters) != sorted(set(self.characters)):
            raise InputError("the characters of a vocabulary must be distinct and sorted")

    @classmethod
    def from_words(cls, words: Iterable[str]) -> "Vocabulary":
        """Collect the characters of `words`."""
        return cls("".join(sorted(set("".join(words)))))

    @property
    def size(self) -> int:
        """The number of ids, V: the characters and the boundary."""
        return len(self.characters) + 1

    @property
    def itos(self) -> dict[int, str]:
        """What to print for each id, as in makemore; for the boundary, :func:`boundary_mark`.

        >>> Vocabulary("ab").itos, Vocabulary(".b").itos
        ({0: '.', 1: 'a', 2: 'b'}, {0: '|', 1: '.', 2: 'b'})
        """
        return dict(enumerate([boundary_mark(self.characters), *self.characters]))

    def encode(self, word: str) -> IntArray:
        """Look up the id of each character.

        Args:
            word: T characters of the vocabulary.

        Returns:
            ids (T,), none of them 0, in the smallest signed integer type that holds V ids and the
            ignored target -1: int8 up to V = 128, then int16, int32.

        Raises:
            InputError: a character is not in the vocabulary.
        """
        return self._look_up(word)

    def encode_words(self, words: Sequence[str]) -> IntArray:
        """Look up the ids of all words in a row, each word followed by the boundary.

        >>> Vocabulary("av").encode_words(["ava", "v"])
        array([1, 2, 1, 0, 2, 0], dtype=int8)

        Raises:
            InputError: a character is not in the vocabulary.
        """
        # One look-up for all words, joined by a mark that is none of the characters.
        mark = boundary_mark(self.characters)
        text = mark.join([*words, ""])
        if text.count(mark) != len(words):
            self._refuse(mark)
        return self._look_up(text, mark)

    def _look_up(self, text: str, boundary: str = "") -> IntArray:
        known = _code_points(boundary + self.characters)
        # One entry per code point up to the last known one, and one more for all those beyond.
        n_codes = int(known.max(initial=0)) + 2
        id_of = np.full(n_codes, -1, np.min_scalar_type(-self.size))
        id_of[known] = np.arange(self.size - len(known), self.size)
        ids = id_of[np.minimum(_code_points(text), n_codes - 1)]
        if ids.size and ids.min() < 0:
            self._refuse(text[ids.argmin()])
        return ids

    def _refuse(self, character: str) -> NoReturn:
        raise InputError(
            f"unknown character {quoted(character)}: "
            f"the vocabulary holds {reprlib.repr(self.characters)}"
        )

    def decode(self, ids: npt.ArrayLike) -> str:
        """Spell out `ids` (T,) up to the first boundary.

        >>> Vocabulary("av").decode([1, 2, 1, 0, 2])
        'ava'

        Raises:
            ValueError: an id is negative or not below `size`.
        """
        row = np.asarray(ids)
        return self.decode_words(row[None])[0] if row.size else ""

    def decode_words(self, ids: npt.ArrayLike) -> list[str]:
        """Spell out each row of `ids` (n, T) up to its first boundary, all rows at once.

        >>> Vocabulary("av").decode_words([[1, 2, 1, 0], [2, 0, 1, 0]])
        ['ava', 'v']

        Raises:
            ValueError: an id is negative or not below `size`.
        """
        indices = np.asarray(ids)
        if indices.size and not 0 <= indices.min() <= indices.max() < self.size:
            raise ValueError(f"ids must lie in 0..{self.size - 1}")
        # The boundary becomes a NUL. No word holds one, and NumPy pads strings with them, so a row
        # of code points is a string in memory.
        rows = np.ascontiguousarray(_code_points("\0" + self.characters)[indices])
        texts: list[str] = rows.view(f"<U{rows.shape[1]}")[:, 0].tolist()
        return [text.partition("\0")[0] for text in texts]


def _code_points(text: str) -> npt.NDArray[np.uint32]:
    # surrogatepass: bytes that the shell could not decode arrive as lone surrogates, and are
    # reported as unknown characters, not as an encoding error.
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def boundary_mark(characters: str) -> str:
    """Choose what is printed for the boundary: ".", or a mark that is none of `characters`."""
    marks = chain(".|_^~", map(chr, range(0x2190, 0x110000)))
    return next(mark for mark in marks if mark not in characters)
