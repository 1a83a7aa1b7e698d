"""The words of a run: read, split, and turned into the examples that its model reads."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jaxmore.data import (
    IntArray,
    Pack,
    PackedExamples,
    Splits,
    Vocabulary,
    context_windows,
    cut_sequences,
    is_pack,
    open_pack,
    read_words,
    seen_in_train,
    sequences,
    split_like_makemore,
    split_words,
    unique_words,
)
from jaxmore.errors import InputError

MAKEMORE_SEED = 3407
"""The default ``--seed`` of makemore.py, which decides the words that it holds out."""

Reads = Literal["windows", "sequences"]
"""What a model reads: context windows (n, T), as in the notebooks, or whole words (n, T), as in
makemore.py."""
Words = Sequence[str] | os.PathLike[str]
"""A list of words, or the path of a file with one word per line, or of a pack."""
MOST_EXAMPLES = {"windows": 2**18, "sequences": 2**15}
"""Of each split of a pack at most so many examples are evaluated, evenly spread over it."""


Examples = dict[str, tuple[IntArray, IntArray]]
"""X and Y of each split that holds words: windows (n, T) and (n,), or sequences, both (n, T)."""


@dataclass(frozen=True)
class Corpus(ABC):
    """The words of a run, in splits."""

    name: str
    """The path of the file as it was given."""
    file: str
    """Its absolute path; empty for a list of words."""
    sha256: str
    unique: bool
    """Whether duplicate words were dropped."""
    vocab: Vocabulary
    """The characters of all splits."""
    longest_word: int
    """The length of the longest word of all splits."""
    splits: Splits | None
    """The words of each split; None for a pack."""

    def block_size(self, options: dict[str, Any]) -> int:
        """Return T: the model's own, or room for the longest word and its start."""
        return options.get("block_size", self.longest_word + 1)

    @abstractmethod
    def n_examples(self, reads: Reads) -> int:
        """Return how many examples :meth:`examples` makes."""

    @abstractmethod
    def examples(
        self, reads: Reads, block_size: int, vocab: Vocabulary, *, cut: bool = False
    ) -> Examples:
        """Return the examples of each split, of a pack :data:`MOST_EXAMPLES` at most.

        Args:
            reads: windows or sequences.
            block_size: T.
            vocab: the vocabulary of the model.
            cut: whether sequences hold the first T places of a longer word, as in microgpt.

        Raises:
            InputError: a word is too long for T, or holds a character that is not in ``vocab``.
        """

    def packed(
        self, reads: Reads, block_size: int, vocab: Vocabulary, *, cut: bool = False
    ) -> dict[str, PackedExamples]:
        """Return all examples of each split of a pack where they lie; none for words in memory.

        The arguments and what is raised are those of :meth:`examples`.
        """
        return {}

    @abstractmethod
    def describe(self, data: Examples) -> str:
        """Describe the words and their examples, as printed before a run begins."""


@dataclass(frozen=True)
class Text(Corpus):
    """Words in memory, split as the model's source splits them."""

    splits: Splits

    def n_examples(self, reads: Reads) -> int:
        windows = reads == "windows"
        return sum(len(word) + 1 if windows else 1 for split in self.splits for word in split)

    def examples(
        self, reads: Reads, block_size: int, vocab: Vocabulary, *, cut: bool = False
    ) -> Examples:
        make = context_windows if reads == "windows" else cut_sequences if cut else sequences
        return {
            name: make(words, vocab, block_size)
            for name, words in self.splits._asdict().items()
            if words
        }

    def describe(self, data: Examples) -> str:
        in_dev, in_test = seen_in_train(self.splits)
        seen = {"dev": in_dev, "test": in_test}
        n_words = [f"{len(getattr(self.splits, name)):,}" for name in data]
        targets = [f"{int((Y != -1).sum()):,}" for _, Y in data.values()]
        also = ", ".join(f"{seen[name]:,} of the {name} words" for name in data if name in seen)
        return (
            f"{self.name}: {sum(map(len, self.splits)):,} words, "
            f"{len(self.vocab.characters)} characters\n"
            f"{' / '.join(data)}: {' / '.join(n_words)} words, "
            f"{' / '.join(targets)} characters to predict\n"
            f"also in train: {also}"
        )


@dataclass(frozen=True)
class Packed(Corpus):
    """Words in a pack, split when it was written."""

    splits: None
    pack: Pack

    def n_examples(self, reads: Reads) -> int:
        each = self.pack.ids if reads == "windows" else self.pack.ends
        return sum(min(len(its), MOST_EXAMPLES[reads]) for its in each.values())

    def examples(
        self, reads: Reads, block_size: int, vocab: Vocabulary, *, cut: bool = False
    ) -> Examples:
        packed = self.packed(reads, block_size, vocab, cut=cut)
        return {name: its.spread(MOST_EXAMPLES[reads]) for name, its in packed.items()}

    def packed(
        self, reads: Reads, block_size: int, vocab: Vocabulary, *, cut: bool = False
    ) -> dict[str, PackedExamples]:
        if vocab != self.vocab:
            raise InputError(f"{self.name} was packed with other characters than the model has")
        if reads == "sequences" and not cut and block_size <= self.longest_word:
            raise InputError(
                f"the longest word of {self.name} needs a block size of at least "
                f"{self.longest_word + 1}, got {block_size}"
            )
        return {
            split: PackedExamples(self.pack, split, reads == "windows", block_size)
            for split in self.pack.ids
        }

    def describe(self, data: Examples) -> str:
        n_words, n_ids = (
            " / ".join(f"{len(its):,}" for its in each.values())
            for each in (self.pack.ends, self.pack.ids)
        )
        shown = " / ".join(f"{len(Y):,}" for _, Y in data.values())
        return (
            f"{self.name}: a pack, {len(self.vocab.characters)} characters\n"
            f"{' / '.join(data)}: {n_words} words, {n_ids} characters to predict\n"
            f"examples to evaluate on: {shown}"
        )


def read_corpus(
    words: Words,
    reads: Reads,
    *,
    unique: bool,
    makemore_seed: int = MAKEMORE_SEED,
    packs: bool = True,
) -> Corpus:
    """Read and split the words of a run.

    Models that read windows have the notebooks' split (80 %, 10 %, 10 %). Those that read sequences
    have makemore.py's, which has no dev words. A pack was split when it was written.

    Raises:
        InputError: the words cannot be read, a split is empty, or they are a pack where ``packs``
            is false.
    """
    if packs and isinstance(words, os.PathLike) and is_pack(words):
        pack = open_pack(words)
        if unique and not pack.unique:
            raise InputError(f"{pack.path} was packed with its duplicates: pack it with --unique")
        return Packed(
            name=str(pack.path),
            file=str(pack.path.resolve()),
            sha256=pack.sha256,
            unique=pack.unique,
            vocab=pack.vocab,
            longest_word=pack.longest_word,
            splits=None,
            pack=pack,
        )
    if isinstance(words, os.PathLike):
        path = Path(words)
        found = read_words(path, like_makemore=reads == "sequences")
        name, file, content = str(path), str(path.resolve()), path.read_bytes()
    else:
        found = list(words)
        if not all(isinstance(word, str) and word for word in found):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError("words must be a list of strings, none of them empty")
        name, file, content = "words", "", "\n".join(found).encode("utf-8", "surrogatepass")
    found = unique_words(found) if unique else found
    splits = split_words(found) if reads == "windows" else split_like_makemore(found, makemore_seed)
    sha256, vocab = hashlib.sha256(content).hexdigest(), Vocabulary.from_words(found)
    return Text(name, file, sha256, unique, vocab, max(map(len, found)), splits)
