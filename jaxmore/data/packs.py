"""Packs: words as ids in files that are mapped, not read, for data larger than memory.

A pack is a folder. `pack.json` holds the vocabulary, the number of words and ids of each split, and
the SHA-256 of every other file. For each split there are two:

    train.ids    the ids of its words in a row, each word followed by the boundary: uint8, 16 or 32
    train.ends   where each word ends in them, its boundary included: uint64
"""

import hashlib
import json
import mmap
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jaxmore.data.vocabulary import IntArray, Vocabulary
from jaxmore.data.words import HEADER, StrPath
from jaxmore.errors import InputError
from jaxmore.files import as_json, reason_of

FORMAT = "jaxmore pack 1"
SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Pack:
    """Words that lie on the disk; see :func:`open_pack`."""

    path: Path
    vocab: Vocabulary
    unique: bool
    """Whether duplicate words were dropped before the split."""
    longest_word: int
    sha256: str
    """Of the header, which holds those of the other files."""
    ids: Mapping[str, npt.NDArray[Any]]
    """The ids of each split."""
    ends: Mapping[str, npt.NDArray[np.uint64]]
    """Where each word of a split ends in its ids."""


@dataclass(frozen=True)
class PackedExamples:
    """The examples of a split, made when they are asked for: `examples[[3, 1]]` is X and Y of two.

    They are those of :func:`~jaxmore.data.context_windows` or :func:`~jaxmore.data.sequences` of
    the same words, in the same dtype.
    """

    pack: Pack
    split: str
    as_windows: bool
    """Whether an example is a context window, or a whole word."""
    block_size: int
    """T. Of a longer word a sequence holds the first T places."""

    def __len__(self) -> int:
        return len((self.pack.ids if self.as_windows else self.pack.ends)[self.split])

    def __getitem__(self, at: IntArray) -> tuple[IntArray, IntArray]:
        """Make the examples `at` (n,): X (n, T), and Y (n,) of windows or (n, T) of words."""
        ids, ends = self.pack.ids[self.split], self.pack.ends[self.split]
        dtype = np.min_scalar_type(-self.pack.vocab.size)
        X = np.zeros((len(at), self.block_size), dtype)
        if self.as_windows:
            for s in range(1, self.block_size + 1):
                inside = at >= s
                if s > 1:  # nothing before a boundary belongs to the word
                    inside &= X[:, 1 - s] != 0
                X[:, -s] = np.where(inside, ids[np.maximum(at - s, 0)], 0)
            return X, ids[at].astype(dtype)
        last = ends[at].astype(np.int64) - 1
        place = np.where(at > 0, ends[at - 1], 0).astype(np.int64)
        Y = np.full_like(X, -1)
        for t in range(self.block_size):
            Y[:, t] = np.where(place <= last, ids[np.minimum(place, last)].astype(dtype), -1)
            place += 1
        np.maximum(Y[:, :-1], 0, out=X[:, 1:])
        return X, Y

    def spread(self, most: int) -> tuple[IntArray, IntArray]:
        """Make up to `most` examples, evenly spread over the split."""
        n = min(most, len(self))
        return self[np.arange(n) * len(self) // n]


def open_pack(path: StrPath) -> Pack:
    """Open a pack that `jaxmore data --pack` wrote. Its files are compared with their SHA-256.

    Raises:
        InputError: it cannot be read, is of another format, or was truncated or changed.
    """
    folder = Path(path)
    try:
        content = (folder / HEADER).read_bytes()
        header = json.loads(content)
        if header.get("format") != FORMAT or content != sealed(header):
            raise InputError(f"{folder / HEADER} was changed, or is of another jaxmore")
        for name, (size, digest) in header["files"].items():
            there = (folder / name).stat().st_size
            if there != size:
                raise InputError(f"{folder / name} has {there:,} bytes in place of {size:,}")
            with open(folder / name, "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    raise InputError(f"{folder / name} was changed: its SHA-256 is another")
        dtype = np.dtype(header["dtype"])
        return Pack(
            path=folder,
            vocab=Vocabulary(header["vocabulary"]),
            unique=header["unique"],
            longest_word=header["longest_word"],
            sha256=hashlib.sha256(content).hexdigest(),
            ids={split: _mapped(folder / f"{split}.ids", dtype) for split in SPLITS},
            ends={split: _mapped(folder / f"{split}.ends", np.dtype("<u8")) for split in SPLITS},
        )
    except OSError as error:
        raise InputError(f"cannot read the pack {folder}: {reason_of(error)}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder / HEADER} is not the header of a pack: {error}") from error


def sealed(header: dict[str, Any]) -> bytes:
    """Encode a header with a SHA-256 of all the rest of it."""
    rest = {name: value for name, value in header.items() if name != "sha256"}
    return as_json(rest | {"sha256": hashlib.sha256(as_json(rest)).hexdigest()})


def _mapped(path: Path, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if sys.platform != "win32":  # batches are drawn at random: reading ahead would read in vain
        mapped.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(mapped, dtype)
