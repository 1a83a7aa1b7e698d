"""Repetitions of words, found without holding the words or their hashes in memory."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

BUCKETS = 256
"""The number of parts in which hashes are compared, one at a time. Memory grows with the size of a
part: for each 256 words of the file 24 bytes, and copies of them while they are sorted."""
MARKS = "repeated"
FILES = (MARKS, *(f"hashes-{i}" for i in range(BUCKETS)))


class Repeats:
    """Marks each word that occurred before, by hashes of 128 bits in a folder of files.

    Two words share such a hash by a chance of 2⁻¹²⁸: among 10⁹ words, 10⁻²¹ for any two.
    """

    def __init__(self, folder: Path) -> None:
        """Write into an empty folder."""
        self._marks, *self._buckets = (folder / name for name in FILES)
        self._n_words = 0

    def add(self, codes: npt.NDArray[Any], starts: npt.NDArray[np.intp]) -> None:
        """Take the words that begin at `starts` in a row of code points."""
        hashes = hash_words(codes, starts)
        numbers = np.arange(len(starts), dtype=np.uint64) + np.uint64(self._n_words)
        entries = np.column_stack([hashes, numbers])
        entries, again = _first_ones(entries)
        marks = np.zeros(len(starts), np.bool_)
        marks[again.astype(np.int64) - self._n_words] = True
        with open(self._marks, "ab") as file:
            file.write(marks.tobytes())
        ends = np.searchsorted(entries[:, 0] >> np.uint64(56), np.arange(BUCKETS + 1))
        for path, first, last in zip(self._buckets, ends[:-1], ends[1:], strict=True):
            with open(path, "ab") as file:
                file.write(entries[first:last].tobytes())
        self._n_words += len(starts)

    def finish(self) -> None:
        """Compare the hashes of all words: the file `MARKS` has a byte for each, 1 for a repeat."""
        marks = np.memmap(self._marks, np.bool_, "r+")
        for path in self._buckets:
            _, again = _first_ones(np.fromfile(path, np.uint64).reshape(-1, 3))
            marks[again] = True
            path.unlink()
        marks.flush()


def hash_words(codes: npt.NDArray[Any], starts: npt.NDArray[np.intp]) -> npt.NDArray[np.uint64]:
    """Hash the words that begin at `starts` in a row of code points: (n, 2).

    A hash is the sum of a hash of each character at its place in the word.
    """
    lengths = np.diff(starts, append=len(codes))
    places = np.arange(len(codes)) - np.repeat(starts, lengths)
    mixed = mix(codes.astype(np.uint64) + (places.astype(np.uint64) << np.uint64(21)))
    again = mix(mixed + np.uint64(1))
    return np.column_stack([np.add.reduceat(m, starts) for m in (mixed, again)])


def mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Hash 64-bit numbers one to one.

    Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014.
    """
    x = x * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x ^= x >> np.uint64(shift)
        x *= np.uint64(factor)
    x ^= x >> np.uint64(31)
    return x


def _first_ones(
    entries: npt.NDArray[np.uint64],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Sort entries (n, 3) by their hashes; return the first of each, and the numbers of the rest.

    Entries come in the order of their numbers, which a stable sort keeps.
    """
    entries = entries[np.lexsort((entries[:, 1], entries[:, 0]))]
    repeated = np.zeros(len(entries), np.bool_)
    repeated[1:] = (entries[1:, :2] == entries[:-1, :2]).all(axis=1)
    return entries[~repeated], entries[repeated, 2]
