"""Packing: a file of words of any length becomes a pack, in bounded memory."""

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from jaxmore.data.chunks import N_CODES, NEWLINE, read_chunks
from jaxmore.data.packs import FORMAT, SPLITS, Pack, open_pack, sealed
from jaxmore.data.repeats import FILES as REPEATS_FILES
from jaxmore.data.repeats import MARKS, Repeats, mix
from jaxmore.data.splits import split_words
from jaxmore.data.vocabulary import Vocabulary
from jaxmore.data.words import HEADER, StrPath, read_words, unique_words
from jaxmore.errors import InputError
from jaxmore.files import as_json, check_regular, reason_of, sync, write_atomically

CHUNK = 2**22
"""Bytes of the file that are read at a time. A file that is no longer is split as
:func:`~jaxmore.data.split_words` splits it."""
CHUNKS_PER_SAVE = 16
SPLIT_OF = np.array([0] * 8 + [1, 2], np.uint8)
DROPPED = len(SPLITS)
STATE, LOCK = "state.json", ".lock"
FILES = tuple(f"{split}.{kind}" for split in SPLITS for kind in ("ids", "ends"))


def write_pack(words: StrPath, path: StrPath, *, unique: bool = False, chunk: int = CHUNK) -> Pack:
    """Write a file of words as a pack: once for the vocabulary, once for the ids.

    The file is read in chunks. The pack is written to `path` with `.part` at its end, and renamed
    when it is complete. Packing that was interrupted resumes, unless it was still collecting the
    vocabulary: then it starts again.

    A file of one chunk is split as :func:`~jaxmore.data.split_words` splits it. Shuffling takes all
    the words at once, so a longer file is split by a hash of the number of each word: eight tenths
    of them for train, one for dev and one for test, in the order of the file.

    Args:
        words: a file as :func:`~jaxmore.data.read_words` reads it.
        path: the folder to write; there must be nothing.
        unique: drop every repetition of a word.
        chunk: bytes to read at a time.

    Raises:
        InputError: the words cannot be read, a split is empty, or the pack cannot be written.
    """
    from filelock import FileLock, Timeout

    source, target = Path(words), Path(path)
    if os.path.lexists(target):
        raise InputError(f"{target} exists already: remove it, or name another folder")
    part = target.with_name(f"{target.name}.part")
    try:
        check_regular(source)
        before = _identity(source)
        part.mkdir(exist_ok=True)
        with FileLock(part / LOCK, timeout=0):
            try:
                if before[0] <= chunk:
                    header = _pack_small(source, part, unique)
                else:
                    header = _pack_large(source, part, unique, chunk)
                if _identity(source) != before:
                    raise InputError(f"{source} was changed while it was packed")
            except InputError:
                _clear(part)  # another file is needed, so nothing can go on from here
                raise
            _finish(part, header)
            _clear(part, kept=(HEADER, *FILES))
        # Windows renames no folder with an open file, such as the lock.
        (part / LOCK).unlink(missing_ok=True)
        os.rename(part, target)
        sync(target.parent)
    except InputError:
        (part / LOCK).unlink(missing_ok=True)
        with suppress(OSError):
            part.rmdir()
        raise
    except Timeout as error:
        raise InputError(f"{target} is being packed already") from error
    except OSError as error:
        raise InputError(f"cannot pack {source}: {reason_of(error)}") from error
    return open_pack(target)


def _identity(source: Path) -> list[int]:
    stat = source.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _pack_small(source: Path, part: Path, unique: bool) -> dict[str, Any]:
    found = read_words(source)
    splits = split_words(unique_words(found) if unique else found)
    vocab = Vocabulary.from_words(found)
    with _Sections(part, _dtype(vocab)) as sections:
        for i, split in enumerate(splits):
            lengths = np.fromiter(map(len, split), np.int64, len(split)) + 1
            sections.append(i, vocab.encode_words(split), lengths)
    return _header(vocab, unique, max(map(len, found)))


def _pack_large(source: Path, part: Path, unique: bool, chunk: int) -> dict[str, Any]:
    state = _saved(part, source, unique) or _survey(source, part, unique, chunk)
    vocab = Vocabulary(state["characters"])
    dtype = _dtype(vocab)
    id_of = np.zeros(N_CODES, dtype)
    id_of[[ord(c) for c in vocab.characters]] = np.arange(1, vocab.size)
    repeated = np.memmap(part / MARKS, np.bool_, "r") if unique else None
    offset, line, number = state["at"]
    with _Sections(part, dtype, state["words"], state["ids"]) as sections:
        for i, (codes, *at) in enumerate(read_chunks(source, offset, line, chunk), 1):
            lengths = np.diff(np.flatnonzero(codes == NEWLINE), prepend=-1)
            numbers = np.arange(number, number + len(lengths), dtype=np.uint64)
            split = SPLIT_OF[mix(numbers) % np.uint64(10)]
            if repeated is not None:
                split[repeated[number : number + len(split)]] = DROPPED
            number += len(lengths)
            ids, of_id = id_of[codes], np.repeat(split, lengths)
            for s in range(len(SPLITS)):
                sections.append(s, ids[of_id == s], lengths[split == s])
            if i % CHUNKS_PER_SAVE == 0:
                sections.sync()
                state |= {"at": [*at, number]}
                state |= {"words": sections.n_words, "ids": sections.n_ids}
                write_atomically(part / STATE, as_json(state))
        for name, n_words in zip(SPLITS, sections.n_words, strict=True):
            if not n_words:
                raise InputError(
                    f"{number:,} words split 0.8 / 0.1 / 0.1: the {name} split is empty"
                )
    return _header(vocab, unique, state["longest"])


def _saved(part: Path, source: Path, unique: bool) -> dict[str, Any] | None:
    """Return the state of packing the same file before, if it came far enough to go on."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        state = json.loads((part / STATE).read_bytes())
        if state["source"] == _identity(source) and state["unique"] == unique:
            return state
    return None


def _survey(source: Path, part: Path, unique: bool, chunk: int) -> dict[str, Any]:
    """Collect the characters, the longest word and the repetitions; begin the state with them."""
    _clear(part)
    seen, longest = np.zeros(N_CODES, np.bool_), 0
    repeats = Repeats(part) if unique else None
    for codes, *_ in read_chunks(source, 0, 1, chunk):
        if not codes.size:
            continue
        seen[codes] = True
        ends = np.flatnonzero(codes == NEWLINE)
        longest = max(longest, int(np.diff(ends, prepend=-1).max()) - 1)
        if repeats:
            repeats.add(codes, np.append(0, ends[:-1] + 1))
    seen[NEWLINE] = False
    if not seen.any():
        raise InputError(f"{os.fspath(source)!r}: only blank lines")
    if repeats:
        repeats.finish()
    state = {
        "source": _identity(source),
        "unique": unique,
        "characters": "".join(map(chr, np.flatnonzero(seen))),
        "longest": longest,
        "at": [0, 1, 0],
        "words": [0] * len(SPLITS),
        "ids": [0] * len(SPLITS),
    }
    write_atomically(part / STATE, as_json(state))
    return state


class _Sections:
    """The files of a pack, written on from a number of words and ids; what was beyond is cut."""

    def __init__(
        self,
        folder: Path,
        dtype: np.dtype[Any],
        n_words: Sequence[int] = (0, 0, 0),
        n_ids: Sequence[int] = (0, 0, 0),
    ) -> None:
        self.n_words, self.n_ids, self._dtype = [*n_words], [*n_ids], dtype
        self._ids = [
            _opened(folder / f"{s}.ids", dtype.itemsize * n)
            for s, n in zip(SPLITS, n_ids, strict=True)
        ]
        self._ends = [
            _opened(folder / f"{s}.ends", 8 * n) for s, n in zip(SPLITS, n_words, strict=True)
        ]

    def __enter__(self) -> "_Sections":
        return self

    def __exit__(self, *error: object) -> None:
        for file in (*self._ids, *self._ends):
            file.close()

    def append(self, split: int, ids: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> None:
        ends = np.cumsum(lengths, dtype=np.uint64) + np.uint64(self.n_ids[split])
        self._ids[split].write(ids.astype(self._dtype).tobytes())
        self._ends[split].write(ends.astype("<u8").tobytes())
        self.n_words[split] += len(lengths)
        self.n_ids[split] += len(ids)

    def sync(self) -> None:
        for file in (*self._ids, *self._ends):
            file.flush()
            os.fsync(file.fileno())


def _opened(path: Path, size: int) -> BinaryIO:
    path.touch()
    file = open(path, "r+b")  # noqa: SIM115  (_Sections closes it)
    file.truncate(size)
    file.seek(size)
    return file


def _dtype(vocab: Vocabulary) -> np.dtype[Any]:
    return np.min_scalar_type(vocab.size - 1).newbyteorder("<")


def _header(vocab: Vocabulary, unique: bool, longest: int) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "vocabulary": vocab.characters,
        "unique": unique,
        "longest_word": longest,
        "dtype": _dtype(vocab).str,
    }


def _finish(part: Path, header: dict[str, Any]) -> None:
    """Write the header, with the size and the SHA-256 of each file."""
    files: dict[str, tuple[int, str]] = {}
    for name in FILES:
        with open(part / name, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            files[name] = size, hashlib.file_digest(file, "sha256").hexdigest()
        sync(part / name)
    write_atomically(part / HEADER, sealed(header | {"files": files}))


def _clear(part: Path, kept: Sequence[str] = ()) -> None:
    """Delete the files of packing, and nothing else.

    The state goes first: it says that the others are there.
    """
    (part / STATE).unlink(missing_ok=True)
    for path in part.iterdir():
        ours = path.name in (HEADER, *FILES) or path.name in REPEATS_FILES
        unfinished = path.name.startswith((f".{STATE}.", f".{HEADER}."))  # of write_atomically
        if (ours or unfinished) and path.name not in kept:
            path.unlink()
