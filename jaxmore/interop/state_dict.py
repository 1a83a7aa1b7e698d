"""Weights to and from makemore.py: its state dict's names against the paths of our parameters.

makemore.py saves `model.state_dict()` as model.pt, tensors and nothing else. Its names are the left
half of the tables below, the paths in a work folder of ours the right half. The numbers are the
same, bit for bit: a weight of `nn.Linear` is transposed, (out, in) there and (in, out) here, and
the causal masks that makemore.py keeps beside the weights are checked on the way in and made anew
on the way out.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from jaxmore import __version__
from jaxmore.data import StrPath, Vocabulary, corpus_path, read_words
from jaxmore.errors import InputError
from jaxmore.interop.torch_reader import read_torch_file, write_torch_file
from jaxmore.layers import Tree, by_path
from jaxmore.models import MODELS
from jaxmore.runs.folder import CONFIG, RUN, clear, locked
from jaxmore.runs.records import Record
from jaxmore.runs.trained import SavedModel, load_model, save_model

__all__ = ["convert", "from_makemore", "to_makemore"]

Tensors = Mapping[str, npt.NDArray[Any]]


class Place(NamedTuple):
    """Where an array is, there and here."""

    theirs: str
    ours: str
    transposed: bool = False


def _linear(theirs: str, ours: str) -> list[Place]:
    return [
        Place(f"{theirs}.weight", f"{ours}.weight", transposed=True),
        Place(f"{theirs}.bias", f"{ours}.bias"),
    ]


def _layer_norm(theirs: str, ours: str) -> list[Place]:
    return [Place(f"{theirs}.weight", f"{ours}.gain"), Place(f"{theirs}.bias", f"{ours}.bias")]


def _recurrent(*cell: Place) -> list[Place]:
    return [
        Place("start", "hidden.start"),
        Place("wte.weight", "embedding.weight"),
        *cell,
        *_linear("lm_head", "head"),
    ]


TABLES: dict[str, list[Place]] = {
    "bigram": [Place("logits", "logits.weight")],
    "mlp": [
        Place("wte.weight", "embedding.weight"),
        *_linear("mlp.0", "hidden"),
        *_linear("mlp.2", "head"),
    ],
    "bow": [
        Place("wte.weight", "embedding.token.weight"),
        Place("wpe.weight", "embedding.position.weight"),
        *_linear("context_block.mlp.c_fc", "mlp.hidden"),
        *_linear("context_block.mlp.c_proj", "mlp.proj"),
        *_linear("lm_head", "head"),
    ],
    "rnn": _recurrent(*_linear("cell.xh_to_h", "hidden.cell")),
    "gru": _recurrent(
        *_linear("cell.xh_to_z", "hidden.cell.update"),
        *_linear("cell.xh_to_r", "hidden.cell.reset"),
        *_linear("cell.xh_to_hbar", "hidden.cell.candidate"),
    ),
    # makemore.py has none; so it would have called it.
    "lstm": _recurrent(*_linear("cell.xh_to_ifgo", "hidden.cell")),
    "transformer": [
        Place("transformer.wte.weight", "embedding.token.weight"),
        Place("transformer.wpe.weight", "embedding.position.weight"),
        *_layer_norm("transformer.ln_f", "norm"),
        Place("lm_head.weight", "head.weight", transposed=True),
    ],
}
"""For each type that makemore.py has, its state dict; the transformer's without its blocks."""

BLOCK = [
    *_layer_norm("ln_1", "attention.norm"),
    *_linear("attn.c_attn", "attention.qkv"),
    *_linear("attn.c_proj", "attention.proj"),
    *_layer_norm("ln_2", "mlp.norm"),
    *_linear("mlp.c_fc", "mlp.hidden"),
    *_linear("mlp.c_proj", "mlp.proj"),
]
"""A block of the transformer: transformer.h.0 there, blocks.0 here, and so on."""

SIGNS = {
    "bigram": "logits",
    "mlp": "mlp.0.weight",
    "bow": "context_block.mlp.c_fc.weight",
    "rnn": "cell.xh_to_h.weight",
    "gru": "cell.xh_to_z.weight",
    "lstm": "cell.xh_to_ifgo.weight",
    "transformer": "transformer.wte.weight",
}
"""A name that a state dict of this type has, and no other."""


class Converted(NamedTuple):
    """A model of makemore.py's, without its vocabulary, of which a state dict says nothing."""

    type: str
    vocab_size: int
    options: dict[str, int]
    params: Tree


def convert(
    from_path: StrPath,
    to_path: StrPath,
    *,
    input_file: StrPath | None = None,
    n_head: int = 4,
    overwrite: bool = False,
) -> SavedModel:
    """Convert makemore.py's model.pt to a work folder of ours, or a work folder to a model.pt.

    Args:
        from_path: a work folder with a trained model, or else a .pt file.
        to_path: the .pt file to write, or else the work folder.
        input_file: for a .pt file, the words that its model was trained on: they hold the
            vocabulary. None for $JAXMORE_NAMES, else the embedded names.
        n_head: N of a transformer in a .pt file, which does not say it; makemore.py's default.
        overwrite: replace what is there.

    Returns:
        The model.

    Raises:
        InputError: a file that is missing, damaged, hostile or in the way, a model that the other
            side does not have, or words that are not the model's.
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


def to_makemore(
    type: str, options: Mapping[str, int], params: Tree
) -> dict[str, npt.NDArray[np.float32]]:
    """The state dict of makemore.py for a model of ours.

    Args:
        type: of the model, one of `TABLES`.
        options: of the model, as `MODELS` takes them.
        params: of the model, float32.

    Returns:
        float32 arrays by makemore.py's names, weights (out, in), masks included. The lstm, which
        makemore.py does not have, comes with names as it would have given them.

    Raises:
        InputError: makemore.py has no such type.
    """
    if type not in TABLES:
        raise InputError(f"makemore.py has no {type}, only {', '.join(TABLES)}")
    arrays, n_layer = by_path(params), options.get("n_layer", 0)
    state: dict[str, npt.NDArray[np.float32]] = {}
    for place in _places(type, n_layer):
        array = np.asarray(arrays[place.ours], np.float32)
        state[place.theirs] = array.T if place.transposed else array
    for name, shape in _masks(type, n_layer, options.get("block_size", 0)).items():
        state[name] = np.tril(np.ones(shape, np.float32))
    return state


def from_makemore(tensors: Tensors, *, n_head: int = 4) -> Converted:
    """Our parameters for a state dict of makemore.py; the inverse of `to_makemore`.

    Args:
        tensors: arrays by makemore.py's names; type and sizes are taken from them.
        n_head: N of a transformer, the one size that no array tells.

    Returns:
        The type, the size of its vocabulary, its options and its parameters.

    Raises:
        InputError: they are not the arrays of one of makemore.py's models.
    """
    type = next((type for type, sign in SIGNS.items() if sign in tensors), None)
    if type is None:
        raise InputError(f"none of makemore.py's models ({', '.join(TABLES)})")
    n_layer = 0
    while f"transformer.h.{n_layer}.ln_1.weight" in tensors:
        n_layer += 1
    vocab_size, options = _sizes(type, tensors)
    if type == "transformer":
        options |= {"n_layer": n_layer, "n_head": n_head}
    places = _places(type, n_layer)
    masks = _masks(type, n_layer, options.get("block_size", 0))
    if odd := tensors.keys() ^ {*(place.theirs for place in places), *masks}:
        which = "has no" if min(odd) not in tensors else "has an unknown"
        raise InputError(f"this {type} {which} {min(odd)!r}")
    try:
        template = jax.eval_shape(MODELS[type].make(vocab_size, **options).init, jax.random.key(0))
    except ValueError as error:  # heads that do not divide the embedding
        raise InputError(str(error)) from error
    arrays: dict[str, npt.NDArray[Any]] = {}
    for place in places:
        array = tensors[place.theirs]
        arrays[place.ours] = array.T if place.transposed else array
        shape = by_path(template)[place.ours].shape
        if array.dtype != np.float32 or arrays[place.ours].shape != shape:
            expected = shape[::-1] if place.transposed else shape
            raise InputError(
                f"{place.theirs} is {array.dtype} {array.shape}, expected float32 {expected}"
            )
        if not np.isfinite(array).all():
            raise InputError(f"{place.theirs} holds NaN or infinity")
    for name, shape in masks.items():
        mask = tensors[name]
        if mask.shape != shape or not np.array_equal(mask, np.tril(np.ones_like(mask))):
            raise InputError(f"{name} is not the causal mask of {shape[-1]} places")
    leaves = [jnp.array(arrays[path]) for path in by_path(template)]
    params = jax.tree.unflatten(jax.tree.structure(template), leaves)
    return Converted(type, vocab_size, options, params)


def _places(type: str, n_layer: int) -> list[Place]:
    blocks = [
        Place(f"transformer.h.{i}.{theirs}", f"blocks.{i}.{ours}", transposed)
        for i in range(n_layer)
        for theirs, ours, transposed in BLOCK
    ]
    return TABLES[type] + blocks


def _masks(type: str, n_layer: int, block_size: int) -> dict[str, tuple[int, ...]]:
    """The names and shapes of the causal masks among makemore.py's tensors."""
    if type == "bow":
        return {"context_block.cbow.bias": (1, block_size, block_size)}
    shape = (1, 1, block_size, block_size)
    return {f"transformer.h.{i}.attn.bias": shape for i in range(n_layer)}


def _sizes(type: str, tensors: Tensors) -> tuple[int, dict[str, int]]:
    """(V, the options that the shapes tell); whether the shapes agree is not checked yet."""

    def shape(name: str) -> tuple[int, int]:
        array = tensors.get(name)
        if array is None or array.ndim != 2 or not array.size:
            raise InputError(f"this {type} has no matrix {name!r}")
        return array.shape[0], array.shape[1]

    if type == "bigram":
        return shape("logits")[0], {}
    if type == "transformer":
        vocab_size, n_embd = shape("transformer.wte.weight")
        return vocab_size, {"block_size": shape("transformer.wpe.weight")[0], "n_embd": n_embd}
    vocab_size, n_embd = shape("wte.weight")
    if type == "bow":
        n_embd2 = shape("context_block.mlp.c_fc.weight")[0]
        sizes = {"block_size": shape("wpe.weight")[0], "n_embd": n_embd, "n_embd2": n_embd2}
        return vocab_size, sizes
    if type == "mlp":
        n_embd2, n_inputs = shape("mlp.0.weight")
        if n_inputs % n_embd:
            raise InputError(f"this mlp has {n_inputs} inputs, no multiple of {n_embd}")
        # Its embedding has one row more, for the BLANK before a word.
        sizes = {"block_size": n_inputs // n_embd, "n_embd": n_embd, "n_embd2": n_embd2}
        return vocab_size - 1, sizes
    return vocab_size, {"n_embd": n_embd, "n_embd2": shape("start")[1]}
