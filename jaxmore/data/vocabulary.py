"""The characters of a corpus and their ids.

The boundary character "." has id 0 and stands before and after every word; the characters of the
corpus follow in sorted order from 1, as in makemore.
"""

import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jaxmore.errors import InputError

BOUNDARY = "."

IntArray = npt.NDArray[np.signedinteger[Any]]


@dataclass(frozen=True)
class Vocabulary:
    """The characters of a corpus and their ids: "." is 0, `characters[i]` is i + 1.

    Immutable, hashable, equal by value.

    Attributes:
        characters: distinct, sorted by code point, without the boundary character.

    Raises:
        InputError: `characters` is not so.

    >>> vocab = Vocabulary.from_words(["emma", "ava"])
    >>> vocab, vocab.size
    (Vocabulary(characters='aemv'), 5)
    >>> vocab.encode("emma.")
    array([2, 3, 3, 1, 0], dtype=int8)
    """

    characters: str

    def __post_init__(self) -> None:
        if BOUNDARY in self.characters:
            raise InputError(f"no word may hold '{BOUNDARY}', the mark of a word's start and end")
        if list(self.characters) != sorted(set(self.characters)):
            raise InputError("the characters of a vocabulary must be distinct and sorted")

    @classmethod
    def from_words(cls, words: Iterable[str]) -> "Vocabulary":
        """Collect the characters of `words`; InputError if one of them is the boundary."""
        return cls("".join(sorted(set("".join(words)))))

    @property
    def size(self) -> int:
        """The number of ids, V: the characters and the boundary."""
        return len(self.characters) + 1

    def encode(self, word: str) -> IntArray:
        """Look up the id of each character.

        Args:
            word: T characters of the vocabulary; the boundary is one of them, with id 0.

        Returns:
            ids (T,), in the smallest signed integer type that holds V ids and the ignored
            target -1: int8 up to V = 128, then int16, int32.

        Raises:
            InputError: a character is not in the vocabulary.
        """
        known = _code_points(BOUNDARY + self.characters)
        # One entry per code point up to the last known one, and one more for all those beyond.
        id_of = np.full(known.max() + 2, -1, np.min_scalar_type(-self.size))
        id_of[known] = np.arange(self.size)
        ids = id_of[np.minimum(_code_points(word), len(id_of) - 1)]
        if ids.size and ids.min() < 0:
            raise InputError(
                f"unknown character {word[ids.argmin()]!r}: "
                f"the vocabulary holds {reprlib.repr(self.characters)}"
            )
        return ids

    def decode(self, ids: npt.ArrayLike) -> str:
        """Put the characters of `ids` (T,) together; id 0 becomes ".", wherever it stands.

        Raises:
            ValueError: an id is negative or not below `size`.
        """
        alphabet = BOUNDARY + self.characters
        indices = np.asarray(ids).tolist()
        if any(not 0 <= i < self.size for i in indices):
            raise ValueError(f"ids must lie in 0..{self.size - 1}, got {reprlib.repr(indices)}")
        return "".join(alphabet[i] for i in indices)

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
        ended = np.logical_or.accumulate(indices == 0, axis=1)
        # NumPy fills its strings up with NULs, so a row of characters is a string in memory.
        rows = np.array(["\0", *self.characters])[np.where(ended, 0, indices)]
        return np.ascontiguousarray(rows).view(f"<U{rows.shape[1]}")[:, 0].tolist()


def _code_points(text: str) -> npt.NDArray[np.uint32]:
    # surrogatepass: what the shell could not decode arrives as lone surrogates. They shall be
    # reported as unknown characters, not as an encoding error.
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def boundary_inside(word: str) -> str:
    """Say that a word holds the boundary character."""
    return f"the word {reprlib.repr(word)} holds '{BOUNDARY}', the mark of a word's start and end"
