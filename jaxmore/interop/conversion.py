"""Convert whole models: makemore.py's model.pt to a work folder, and back."""

import hashlib
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from jaxmore import __version__
from jaxmore.data import StrPath, Vocabulary, corpus_path, read_words, sequences
from jaxmore.errors import InputError
from jaxmore.files import reason_of, remove
from jaxmore.interop.state_dict import from_makemore, to_makemore
from jaxmore.interop.torch_reader import read_torch_file
from jaxmore.interop.torch_writer import write_torch_file
from jaxmore.runs.corpus import MAKEMORE_SEED
from jaxmore.runs.folder import CONFIG, RUN, TENSORS, clear, locked
from jaxmore.runs.records import Record
from jaxmore.runs.trained import Trained, load, save
from jaxmore.training.evaluation import mean_loss

__all__ = ["convert"]

MAX_SCORED_WORDS = 1_000
"""How many words the model is tried on to see whether they are its own."""


def convert(
    from_path: StrPath,
    to_path: StrPath,
    *,
    input_file: StrPath | None = None,
    n_head: int = 4,
    seed: int = MAKEMORE_SEED,
    overwrite: bool = False,
) -> Trained:
    """Convert makemore.py's model.pt to a work folder, or a work folder to a model.pt.

    Args:
        from_path: a work folder with a trained model, or a .pt file.
        to_path: the .pt file to write, or the work folder.
        input_file: for a .pt file, the words that its model was trained on, which give the
            vocabulary. None for $JAXMORE_NAMES or, where that is not set, the embedded names.
        n_head: N of a transformer in a .pt file, which does not hold it; makemore.py's default.
        seed: makemore.py's ``--seed`` for a .pt file, which does not hold it. It decides which
            words makemore.py has held out.
        overwrite: whether to replace what is there.

    Returns:
        The model.

    Raises:
        InputError: a file is missing, damaged, malicious or in the way, the other side has no such
            model, or the words are not the model's.
    """
    source, target = Path(from_path), Path(to_path)
    if source.is_dir():
        saved = load(source)
        if target.exists() and not overwrite:
            raise InputError(f"{target} exists already: --overwrite replaces it")
        write_torch_file(target, to_makemore(saved.type, saved.options, saved.params))
        return saved
    tensors = read_torch_file(source)
    try:
        converted = from_makemore(tensors, n_head=n_head)
    except InputError as error:
        raise InputError(f"{str(source)!r}: {error}") from error
    words_path = corpus_path(input_file)
    words = read_words(words_path, like_makemore=True)
    vocab = Vocabulary.from_words(words)
    if vocab.size != converted.vocab_size:
        raise InputError(
            f"{source} was trained on {converted.vocab_size - 1} characters, but {words_path} has "
            f"{len(vocab.characters)}: name its words with -i"
        )
    if not -(2**63) <= seed < 2**64:
        raise InputError(f"--seed must lie in -2**63..2**64 - 1, as in torch, got {seed}")
    longest = max(map(len, words))
    block_size = converted.options.get("block_size", longest + 1)
    if block_size <= longest:
        raise InputError(
            f"{source} was trained on words of up to {block_size - 1} characters, but {words_path} "
            f"has one of {longest}: name its words with -i"
        )
    record: Record = {
        "data": {
            "file": str(words_path.resolve()),
            "sha256": hashlib.sha256(words_path.read_bytes()).hexdigest(),
            "unique": False,
            "longest_word": longest,
        },
        "training": {
            "converted_from": str(source.resolve()),
            "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
            "makemore_seed": seed,
        },
        "versions": {"jaxmore": __version__},
        "losses": {},
    }
    saved = Trained(converted.type, converted.options, vocab, converted.params, {}, record)
    with locked(target):
        if any((target / name).exists() for name in (RUN, CONFIG)) and not overwrite:
            raise InputError(f"{target} holds a run: --overwrite replaces it")
        try:
            new = target / ".converted"
            remove(new)
            save(saved, new)
            clear(target)  # what can fail is done
            for name in (TENSORS, CONFIG):
                os.replace(new / name, target / name)
            new.rmdir()
        except OSError as error:
            raise InputError(f"cannot write to {target}: {reason_of(error)}") from error
    saved = load(target)
    for note in _notes(saved, words, block_size):
        print(f"note: {note}: are {words_path} the words that it was trained on?", file=sys.stderr)
    return saved


def _notes(saved: Trained, words: list[str], block_size: int) -> Iterator[str]:
    """Tell by what the words seem to be others, though they have as many characters."""
    longest = max(map(len, words))
    if block_size > longest + 1:
        yield f"the model has room for {block_size - 1} characters, and no word has over {longest}"
    X, Y = sequences(words[:MAX_SCORED_WORDS], saved.vocab, block_size)
    loss = mean_loss(saved.model, saved.params, saved.stats, X, Y)
    chance = math.log(saved.vocab.size)
    if loss > chance:
        yield f"the model is no better than chance (a loss of {loss:.2f}, by chance {chance:.2f})"
