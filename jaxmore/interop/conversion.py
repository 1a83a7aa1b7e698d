"""Convert whole models: makemore.py's model.pt to a work folder, and back."""

import hashlib
from pathlib import Path

from jaxmore import __version__
from jaxmore.data import StrPath, Vocabulary, corpus_path, read_words
from jaxmore.errors import InputError
from jaxmore.interop.state_dict import from_makemore, to_makemore
from jaxmore.interop.torch_reader import read_torch_file
from jaxmore.interop.torch_writer import write_torch_file
from jaxmore.runs.folder import CONFIG, RUN, clear, locked
from jaxmore.runs.records import Record
from jaxmore.runs.trained import SavedModel, load_model, save_model

__all__ = ["convert"]


def convert(
    from_path: StrPath,
    to_path: StrPath,
    *,
    input_file: StrPath | None = None,
    n_head: int = 4,
    overwrite: bool = False,
) -> SavedModel:
    """Convert makemore.py's model.pt to a work folder, or a work folder to a model.pt.

    Args:
        from_path: a work folder with a trained model, or a .pt file.
        to_path: the .pt file to write, or the work folder.
        input_file: for a .pt file, the words that its model was trained on, which give the
            vocabulary. None for $JAXMORE_NAMES or, where that is not set, the embedded names.
        n_head: N of a transformer in a .pt file, which does not hold it; makemore.py's default.
        overwrite: whether to replace what is there.

    Returns:
        The model.

    Raises:
        InputError: a file is missing, damaged, malicious or in the way, the other side has no such
            model, or the words are not the model's.
    """
    source, target = Path(from_path), Path(to_path)
    if source.is_dir():
        saved = load_model(source)
        if target.exists() and not overwrite:
            raise InputError(f"{target} exists: --overwrite, or another name")
        write_torch_file(target, to_makemore(saved.type, saved.options, saved.params))
        return saved
    tensors = read_torch_file(source)
    try:
        converted = from_makemore(tensors, n_head=n_head)
    except InputError as error:
        raise InputError(f"{str(source)!r}: {error}") from error
    words_path = corpus_path(input_file)
    words = read_words(words_path)
    vocab = Vocabulary.from_words(words)
    if vocab.size != converted.vocab_size:
        raise InputError(
            f"{source} was trained on {converted.vocab_size - 1} characters, but {words_path} has "
            f"{len(vocab.characters)}: name its words with -i"
        )
    record: Record = {
        "data": {
            "file": str(words_path.resolve()),
            "sha256": hashlib.sha256(words_path.read_bytes()).hexdigest(),
            "unique": False,
            "longest_word": max(map(len, words)),
        },
        "training": {
            "converted_from": str(source.resolve()),
            "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        },
        "versions": {"jaxmore": __version__},
        "losses": {},
    }
    with locked(target):
        if any((target / name).exists() for name in (RUN, CONFIG)):
            if not overwrite:
                raise InputError(f"{target} holds a run: --overwrite, or another folder")
            clear(target)
        try:
            save_model(
                target,
                SavedModel(converted.type, converted.options, vocab, converted.params, {}, record),
            )
        except OSError as error:
            raise InputError(f"cannot write to {target}: {error.strerror or error}") from error
    return load_model(target)
