"""Files of words: reading them, dropping duplicates, finding the embedded corpus."""

import os
from collections.abc import Iterable
from pathlib import Path

from jaxmore.errors import InputError
from jaxmore.files import read_file

StrPath = str | os.PathLike[str]
HEADER = "pack.json"
"""The file that makes a folder a pack (:mod:`jaxmore.data.packs`)."""


def read_words(path: StrPath, *, like_makemore: bool = False) -> list[str]:
    r"""Read a UTF-8 file with one word per line.

    A byte order mark, blanks around a word and blank lines are dropped. Lines end with `\n`,
    `\r\n` or `\r`, as in Python's `open`; a form feed or U+2028 inside a line does not end it.
    Apart from that a word is what the file says: its letters are neither folded nor normalised,
    so a decomposed "é" counts as two characters.

    Args:
        path: the file.
        like_makemore: read the file as makemore.py does. A byte order mark is a letter of the
            first word, and lines end wherever `str.splitlines` ends them: also at U+2028, U+2029,
            U+0085, form feed, vertical tab, and U+001C to U+001E.

    Returns:
        The words in the order of the file, duplicates included; at least one.

    Raises:
        InputError: the file cannot be read, is not UTF-8, holds NUL characters or no word at all,
            or it is a pack.
    """
    name = repr(os.fspath(path))
    if is_pack(path):
        raise InputError(f"{name} is a pack: give the text file of its words")
    raw = _read_bytes(path)
    text = decode_lines(raw, name)
    lines = text.splitlines() if like_makemore else text.removeprefix("\ufeff").split("\n")
    words = [word for line in lines if (word := line.strip())]
    if not words:
        blank = text.removeprefix("\ufeff")
        raise InputError(f"{name}: {'only blank lines' if blank else 'the file is empty'}")
    return words


def is_pack(path: StrPath) -> bool:
    """Tell whether there is a pack at a path, whole or not."""
    return os.path.isfile(os.path.join(path, HEADER))  # never raises, unlike Path.is_file


def decode_lines(raw: bytes, name: str, first_line: int = 1) -> str:
    r"""Decode lines of a file of words, and end each of them with `\n`.

    Args:
        raw: lines of the file, whole.
        name: of the file, for the message.
        first_line: the number of the first of these lines.

    Raises:
        InputError: they are not UTF-8, or hold a NUL.
    """
    # Before decoding, so that the line numbers below are an editor's. No byte of a multi-byte UTF-8
    # sequence is a line end.
    raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        number = first_line + raw.count(b"\n", 0, error.start)
        byte = raw[error.start]
        guess = " (UTF-16?)" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        line = f"{name}, line {number}: byte 0x{byte:02x} is not UTF-8{guess}"
        raise InputError(line) from error
    if "\0" in text:
        number = first_line + text.count("\n", 0, text.index("\0"))
        raise InputError(f"{name}, line {number}: a NUL character (not a text file in UTF-8?)")
    return text


def _read_bytes(path: StrPath) -> bytes:
    try:
        return read_file(Path(path))
    except (OSError, ValueError) as error:  # ValueError: a path that no system call accepts
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot read {os.fspath(path)!r}: {reason}") from error


def unique_words(words: Iterable[str]) -> list[str]:
    """Drop every repetition of a word; keep the order of first appearance.

    >>> unique_words(["ava", "mia", "ava"])
    ['ava', 'mia']
    """
    return list(dict.fromkeys(words))


def corpus_path(input_file: StrPath | None = None) -> Path:
    """Choose the file of words: `input_file`, else $JAXMORE_NAMES, else the embedded corpus."""
    if input_file is not None:
        return Path(input_file)
    if named := os.environ.get("JAXMORE_NAMES"):
        return Path(named)
    return embedded_corpus()


def embedded_corpus() -> Path:
    """Find the names that come with jaxmore: in the installed package, or in the repository.

    Raises:
        InputError: the installation is incomplete.
    """
    package = Path(__file__).parents[1]
    for path in (package / "data" / "names.txt", package.parent / "data" / "names.txt"):
        if path.is_file():
            return path
    raise InputError("the embedded names.txt is missing: reinstall jaxmore, or name another file")
