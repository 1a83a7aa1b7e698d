"""The words of a run: read, split, and turned into the examples that its model reads."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

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


class Corpus(NamedTuple):
    """Words, split as the model's source splits them, or as they were packed."""

    name: str
    """The path of the file as it was given."""
    file: str
    """Its absolute path; empty for a list of words."""
    sha256: str
    unique: bool
    words: Splits | Pack

    @property
    def splits(self) -> Splits | None:
        """The words of each split; None for a pack."""
        return None if isinstance(self.words, Pack) else self.words

    @property
    def vocab(self) -> Vocabulary:
        """The characters of all splits."""
        if isinstance(self.words, Pack):
            return self.words.vocab
        return Vocabulary.from_words(word for split in self.words for word in split)

    @property
    def longest_word(self) -> int:
        """The length of the longest word of all splits."""
        if isinstance(self.words, Pack):
            return self.words.longest_word
        return max(len(word) for split in self.words for word in split)

    def block_size(self, options: dict[str, Any]) -> int:
        """Return T: the model's own, or room for the longest word and its start."""
        return options.get("block_size", self.longest_word + 1)

    def n_examples(self, reads: Reads) -> int:
        """Return how many examples :meth:`examples` makes."""
        windows, most = reads == "windows", MOST_EXAMPLES[reads]
        if isinstance(self.words, Pack):
            each = self.words.ids if windows else self.words.ends
            return sum(min(len(its), most) for its in each.values())
        return sum(len(word) + 1 if windows else 1 for split in self.words for word in split)

    def packed(
        self, reads: Reads, block_size: int, vocab: Vocabulary, *, cut: bool = False
    ) -> dict[str, PackedExamples]:
        """Return the examples of each split of a pack where they lie, by its name.

        Empty for words in memory. The arguments and what is raised are those of :meth:`examples`.
        """
        if not isinstance(self.words, Pack):
            return {}
        if vocab != self.words.vocab:
            raise InputError(f"{self.name} was packed with other characters than the model has")
        if reads == "sequences" and not cut and block_size <= self.longest_word:
            raise InputError(
                f"the longest word of {self.name} needs a block size of at least "
                f"{self.longest_word + 1}, got {block_size}"
            )
        return {
            split: PackedExamples(self.words, split, reads == "windows", block_size)
            for split in self.words.ids
        }

    def examples(
        self, reads: Reads, block_size: int, vocab: Vocabulary, *, cut: bool = False
    ) -> dict[str, tuple[IntArray, IntArray]]:
        """Return X and Y of each split that holds words, of a pack :data:`MOST_EXAMPLES` at most.

        They are windows (n, T) and (n,), or sequences (n, T) and (n, T).

        Args:
            reads: which of the two.
            block_size: T.
            vocab: the vocabulary of the model.
            cut: whether sequences hold the first T places of a longer word, as in microgpt.

        Raises:
            InputError: a word is too long for T, or holds a character that is not in ``vocab``.
        """
        if isinstance(self.words, Pack):
            packed = self.packed(reads, block_size, vocab, cut=cut)
            return {name: its.spread(MOST_EXAMPLES[reads]) for name, its in packed.items()}
        make = context_windows if reads == "windows" else cut_sequences if cut else sequences
        return {
            name: make(words, vocab, block_size)
            for name, words in self.words._asdict().items()
            if words
        }


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
        file = str(pack.path.resolve())
        return Corpus(str(pack.path), file, pack.sha256, pack.unique, pack)
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
    return Corpus(name, file, hashlib.sha256(content).hexdigest(), unique, splits)


def describe_corpus(corpus: Corpus, data: dict[str, tuple[IntArray, IntArray]]) -> str:
    """Describe the words of a run, as printed before it begins."""
    splits = corpus.words
    n_characters = len(corpus.vocab.characters)
    if isinstance(splits, Pack):
        n_words, n_ids = (
            " / ".join(f"{len(its):,}" for its in each.values())
            for each in (splits.ends, splits.ids)
        )
        shown = " / ".join(f"{len(Y):,}" for _, Y in data.values())
        return (
            f"{corpus.name}: a pack, {n_characters} characters\n"
            f"{' / '.join(data)}: {n_words} words, {n_ids} characters to predict\n"
            f"examples to evaluate on: {shown}"
        )
    in_dev, in_test = seen_in_train(splits)
    seen = {"dev": in_dev, "test": in_test}
    n_words = [f"{len(getattr(splits, name)):,}" for name in data]
    targets = [f"{int((Y != -1).sum()):,}" for _, Y in data.values()]
    also = ", ".join(f"{seen[name]:,} of the {name} words" for name in data if name in seen)
    return (
        f"{corpus.name}: {sum(map(len, splits)):,} words, {n_characters} characters\n"
        f"{' / '.join(data)}: {' / '.join(n_words)} words, "
        f"{' / '.join(targets)} characters to predict\n"
        f"also in train: {also}"
    )
