"""Chunks: the words of a file of any length, as code points, a few megabytes at a time."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from jaxmore.data.words import decode_lines

N_CODES = 0x110000
"""How many code points Unicode has."""
NEWLINE = ord("\n")


def read_chunks(
    source: Path, offset: int, line: int, size: int
) -> Iterator[tuple[npt.NDArray[Any], int, int]]:
    """Yield the words of whole lines, each followed by a newline, and where the next chunk begins.

    They are code points, in bytes if all are ASCII. The beginning is an offset in the file, and the
    number of a line.
    """
    with open(source, "rb") as file:
        file.seek(offset)
        for raw in _whole_lines(file, size):
            text = decode_lines(raw, repr(os.fspath(source)), line)
            line += text.count("\n")
            text = text.removeprefix("\ufeff") if offset == 0 else text
            offset += len(raw)
            yield _words_only(text), offset, line


def _whole_lines(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Read `size` bytes at a time, and yield the lines that have ended."""
    raw = bytearray()
    while block := file.read(size):
        first = max(len(raw) - 1, 0)
        raw += block
        # A carriage return at the end may be the first half of a line end.
        end = 1 + max(raw.rfind(b"\n", first), raw.rfind(b"\r", first, len(raw) - 1))
        if end:
            yield bytes(raw[:end])
            del raw[:end]
    if raw:
        yield bytes(raw)


def _words_only(text: str) -> npt.NDArray[Any]:
    """Drop blanks around words and blank lines; end the last word."""
    codes = _code_points(text if text.endswith("\n") else f"{text}\n")
    newline = codes == NEWLINE
    empty = newline & np.append(True, newline[:-1])
    if empty.any():
        codes, newline = codes[~empty], newline[~empty]
    blank = _blanks()[codes]
    beside = blank[1:] & blank[:-1] & (newline[1:] | newline[:-1])
    if not (blank[:1].any() or beside.any()):
        return codes
    words = (word for part in text.split("\n") if (word := part.strip()))
    return _code_points("".join(f"{word}\n" for word in words))


@cache
def _blanks() -> npt.NDArray[np.bool_]:
    """Return for each code point whether `str.strip` drops it."""
    return np.array([chr(code).isspace() for code in range(N_CODES)])


def _code_points(text: str) -> npt.NDArray[Any]:
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le"), "<u4")
