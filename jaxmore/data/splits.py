"""From a file of words to arrays: words, vocabulary, splits, context windows.

Everything runs on the host in NumPy, and nothing here imports JAX, so the commands that only
look at data answer at once. The conventions are makemore's: the boundary character "." has id 0
and stands before and after every word, the characters of the corpus follow in sorted order from 1.
"""

import codecs
import math
import os
import random
import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from jaxmore.data.download import NAMES_SHA256 as NAMES_SHA256
from jaxmore.data.download import NAMES_URL as NAMES_URL
from jaxmore.data.download import download_names as download_names
from jaxmore.data.torch_generator import TorchGenerator
from jaxmore.errors import InputError

BOUNDARY = "."

IntArray = npt.NDArray[np.signedinteger[Any]]
StrPath = str | os.PathLike[str]


# ---------------------------------------------------------------------------------------- words


def read_words(path: StrPath) -> list[str]:
    r"""Read a UTF-8 file with one word per line.

    A byte order mark, blanks around a word and blank lines are dropped. Lines end with `\n`,
    `\r\n` or `\r`, as in Python's `open`; a form feed or U+2028 inside a line does not end it.
    Apart from that a word is what the file says: its letters are neither folded nor normalised,
    so a decomposed "é" counts as two characters.

    Args:
        path: the file.

    Returns:
        The words in the order of the file, duplicates included; at least one.

    Raises:
        InputError: the file cannot be read, is not UTF-8, holds NUL characters or no word at all,
            or one of its words holds the boundary character ".".
    """
    name = repr(os.fspath(path))
    raw = _read_bytes(path).removeprefix(codecs.BOM_UTF8)
    # Before decoding, so that the line numbers below are those of an editor. No byte of a
    # multi-byte UTF-8 sequence is a line end.
    raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    try:
        lines = raw.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        number = raw.count(b"\n", 0, error.start) + 1
        byte = raw[error.start]
        raise InputError(f"{name}, line {number}: byte 0x{byte:02x} is not UTF-8") from error
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise InputError(f"{name}, line {number}: a NUL character (not a text file in UTF-8?)")
        if BOUNDARY in line:
            raise InputError(f"{name}, line {number}: {_boundary_inside(line.strip())}")
    words = [word for line in lines if (word := line.strip())]
    if not words:
        raise InputError(f"{name}: {'only blank lines' if raw else 'the file is empty'}")
    return words


def _read_bytes(path: StrPath) -> bytes:
    try:
        if Path(path).exists() and not (Path(path).is_file() or Path(path).is_dir()):
            raise ValueError("neither a file nor a folder")  # a FIFO waits, /dev/zero has no end
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path that no system call accepts
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot read {os.fspath(path)!r}: {reason}") from error


def _boundary_inside(word: str) -> str:
    return f"the word {reprlib.repr(word)} holds '{BOUNDARY}', the mark of a word's start and end"


def unique_words(words: Iterable[str]) -> list[str]:
    """Drop every repetition of a word; the order of first appearance stays.

    >>> unique_words(["ava", "mia", "ava"])
    ['ava', 'mia']
    """
    return list(dict.fromkeys(words))


# ----------------------------------------------------------------------------------- vocabulary


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


# --------------------------------------------------------------------------------------- splits


class Splits(NamedTuple):
    """The words to train on, to choose hyperparameters by, and to report on."""

    train: list[str]
    dev: list[str]
    test: list[str]


def split_words(
    words: Sequence[str],
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    seed: int = 42,
) -> Splits:
    """Shuffle a copy of `words` and cut it in three.

    With the default arguments this is the split of makemore's lecture notebooks:
    `random.seed(42); random.shuffle(words)`, cut at `int(0.8 * n)` and `int(0.9 * n)`.

    Args:
        words: n words; left as they are.
        fractions: the shares of train, dev and test; they sum to 1.
        seed: of Python's Mersenne Twister.

    Returns:
        Three lists that together hold each of the n words once.

    Raises:
        InputError: the fractions are not three non-negative numbers that sum to 1, or one of the
            splits comes out empty.
    """
    shares = " / ".join(str(fraction) for fraction in fractions)
    # Written so that NaN fails it too.
    valid = len(fractions) == 3 and all(fraction >= 0 for fraction in fractions)
    if not (valid and math.isclose(sum(fractions), 1, abs_tol=1e-9)):
        raise InputError(f"fractions must be three numbers >= 0 that sum to 1, got {shares}")
    shuffled = list(words)
    random.Random(seed).shuffle(shuffled)
    # 0.7 + 0.2 and 0.29 * 100 fall just short of 0.9 and 29; the 1e-9 makes up for it. 0.8 * n
    # and 0.9 * n are whole, or at least 0.1 below the next whole number: nothing changes there.
    n_train, n_seen = (
        math.floor(share * len(shuffled) + 1e-9)
        for share in (fractions[0], fractions[0] + fractions[1])
    )
    splits = Splits(shuffled[:n_train], shuffled[n_train:n_seen], shuffled[n_seen:])
    for name, split in splits._asdict().items():
        if not split:
            raise InputError(f"{len(shuffled)} words split {shares}: the {name} split is empty")
    return splits


def split_like_makemore(words: Sequence[str], seed: int = 3407) -> Splits:
    """Hold out the very words that makemore.py holds out of the same file.

    They are the last min(1000, int(0.1 n)) of a permutation by `torch.randperm`, the first thing
    that makemore.py draws after `torch.manual_seed(seed)`.

    makemore.py has no dev split: it keeps the model that does best on test. Here dev is empty, so
    that the n words are still held once each; to choose a model as makemore.py does, take test.

    Args:
        words: n >= 10 words, in the order of the file; left as they are.
        seed: makemore.py's `--seed`, with its default.

    Returns:
        train and test in makemore.py's order, and no dev.

    Raises:
        InputError: fewer than 10 words. (makemore.py would then train on none of them.)
        ValueError: torch takes no such seed.
    """
    n_test = min(1000, int(len(words) * 0.1))
    if not n_test:
        raise InputError(f"makemore.py's split takes at least 10 words, got {len(words)}")
    order: list[int] = TorchGenerator(seed).randperm(len(words)).tolist()
    shuffled = [words[i] for i in order]
    return Splits(train=shuffled[:-n_test], dev=[], test=shuffled[-n_test:])


def seen_in_train(splits: Splits) -> tuple[int, int]:
    """Count the words of dev and of test that also stand in train.

    A loss on such words measures memory, not generalisation; `unique_words` before the split
    leaves none. Returns (dev, test), duplicates counted as often as they occur.

    >>> seen_in_train(Splits(["ava", "mia"], ["ava", "zoe", "ava"], ["lia"]))
    (2, 0)
    """
    train = set(splits.train)
    return sum(word in train for word in splits.dev), sum(word in train for word in splits.test)


# -------------------------------------------------------------------------------------- windows


def context_windows(
    words: Sequence[str], vocab: Vocabulary, block_size: int
) -> tuple[IntArray, IntArray]:
    """Make one training example per character: the `block_size` ids before it, and its own.

    A word of n characters gives n + 1 windows, the last of which predicts the boundary. The
    context starts as boundaries only and never reaches into the word before. With y the ids of
    all words, each followed by its boundary, the id s places before window i is

        X[i, -s] = y[i - s]  if s = 1 or X[i, -(s - 1)] != 0,  else 0

    because a boundary in the context has nothing but boundaries before it. Same order as the loop
    in makemore's notebooks (`build_dataset`), one pass of NumPy per column instead.

    Args:
        words: any number of words.
        vocab: knows their characters, V ids.
        block_size: T >= 1, the length of the context.

    Returns:
        X (N, T) and Y (N,) with N = sum(len(word) + 1), in the dtype of `Vocabulary.encode`.

    Raises:
        InputError: `block_size` < 1, an unknown character, or a word that holds the boundary.

    >>> X, Y = context_windows(["ava"], Vocabulary("av"), 3)
    >>> X.tolist(), Y.tolist()
    ([[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 1]], [1, 2, 1, 0])
    """
    _check_block_size(block_size)
    Y = _encode_all(words, vocab)
    X = np.zeros((len(Y), block_size), Y.dtype)
    X[1:, -1] = Y[:-1]
    for s in range(2, block_size + 1):
        X[s:, -s] = Y[:-s] * (X[s:, 1 - s] != 0)
    return X, Y


def _encode_all(words: Sequence[str], vocab: Vocabulary) -> IntArray:
    # The ids of all words, each followed by its boundary.
    text = BOUNDARY.join([*words, ""])
    if text.count(BOUNDARY) != len(words):
        raise InputError(_boundary_inside(next(word for word in words if BOUNDARY in word)))
    return vocab.encode(text)


def trace_windows(word: str, block_size: int = 3) -> list[str]:
    r"""Spell out the windows of one word, as makemore's notebooks print them.

    Args:
        word: any characters; no vocabulary is needed.
        block_size: the length of the context, at least 1.

    Returns:
        The word, then one line for each of its len(word) + 1 windows.

    Raises:
        InputError: `block_size` < 1, or the word holds the boundary.

    >>> print(*trace_windows("ava", 3), sep="\n")
    ava
    ... ------> a
    ..a ------> v
    .av ------> a
    ava ------> .
    """
    _check_block_size(block_size)
    if BOUNDARY in word:
        raise InputError(_boundary_inside(word))
    padded = BOUNDARY * block_size + word + BOUNDARY
    windows = (padded[i : i + block_size + 1] for i in range(len(word) + 1))
    return [word, *(f"{window[:-1]} ------> {window[-1]}" for window in windows)]


def _check_block_size(block_size: int) -> None:
    if block_size < 1:
        raise InputError(f"the block size must be at least 1, got {block_size}")


# ------------------------------------------------------------------------------------ sequences


def sequences(
    words: Sequence[str], vocab: Vocabulary, block_size: int | None = None
) -> tuple[IntArray, IntArray]:
    """Make one training example per word: its characters, and what follows each of them.

    makemore.py's form. For a word w of n characters

        x = [0, w_1, ..., w_n, 0, ..., 0]    y = [w_1, ..., w_n, 0, -1, ..., -1]

    both of length T: x begins with the boundary, y ends with it, and the -1 are no targets.

    Args:
        words: N words, any number.
        vocab: knows their characters, V ids.
        block_size: T; None for the length of the longest word and 1, as in makemore.py (16 at
            its names.txt).

    Returns:
        X (N, T) and Y (N, T), in the dtype of `Vocabulary.encode`.

    Raises:
        InputError: `block_size` is less than that, an unknown character, or a word that holds the
            boundary.

    >>> X, Y = sequences(["ava", "v"], Vocabulary("av"))
    >>> X.tolist(), Y.tolist()
    ([[0, 1, 2, 1], [0, 2, 0, 0]], [[1, 2, 1, 0], [2, 0, -1, -1]])
    """
    ids = _encode_all(words, vocab)
    longest = max(words, key=len, default="")
    if block_size is None:
        block_size = len(longest) + 1
    _check_block_size(block_size)
    if block_size <= len(longest):
        raise InputError(
            f"the word {reprlib.repr(longest)} needs a block size of at least {len(longest) + 1}, "
            f"got {block_size}"
        )
    # Row by row, each word and its boundary fill the first n + 1 places of Y.
    lengths = np.fromiter(map(len, words), np.intp, len(words))
    filled = np.arange(block_size) <= lengths[:, None]
    Y = np.full(filled.shape, -1, ids.dtype)
    Y[filled] = ids
    X = np.zeros_like(Y)
    np.maximum(Y[:, :-1], 0, out=X[:, 1:])
    return X, Y


# --------------------------------------------------------------------------------------- corpus


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
