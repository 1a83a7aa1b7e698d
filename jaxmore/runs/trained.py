"""A trained model: in memory, and on disk as ``model.safetensors`` and ``config.json``.

The pair is consistent after every crash. The arrays are written beside the old ones, then
``config.json``, which names them by their SHA-256, and then they are renamed. Until the new
``config.json`` is there, the old pair is; from then on its arrays are, under one name or the other.
Loading runs no code: JSON and safetensors hold data only, and the arrays must have the SHA-256 that
the configuration names.
"""

import hashlib
import json
import math
import os
import sys
from collections.abc import Container
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Shaped
from typeguard import TypeCheckError, check_type

from jaxmore import notebook
from jaxmore.data import Vocabulary
from jaxmore.errors import InputError
from jaxmore.files import as_json, read_file, write_atomically
from jaxmore.layers import Layer, Tree, by_path
from jaxmore.models import MODELS
from jaxmore.runs.corpus import Reads
from jaxmore.runs.folder import CONFIG, NEW_TENSORS, RUN, TENSORS
from jaxmore.runs.records import Record

FORMAT = 1
CUSTOM = "custom"
"""The type of a model that is not one of ``MODELS`` but a layer of the caller's own."""


class Trained(NamedTuple):
    """A trained model, ready for inference."""

    type: str
    """One of ``MODELS``, or ``custom``."""
    options: dict[str, Any]
    """The keyword options of the model's function; of a custom model ``model`` (the layer),
    ``reads`` and ``block_size``."""
    vocab: Vocabulary
    params: Tree
    stats: Tree
    record: Record
    """Where the model comes from: its words, settings, versions and losses."""

    def _repr_html_(self) -> str:
        leaves = by_path(self.params)
        count = sum(leaf.size for leaf in leaves.values())
        losses = ", ".join(f"{name} {loss:.4f}" for name, loss in self.record["losses"].items())
        rows = ((path, str(p.shape), notebook.heat_map(p)) for path, p in leaves.items())
        note = f"{self.type}: {count:,} parameters; loss: {losses or 'not evaluated'}"
        return notebook.table(("parameter", "shape", "value"), rows, note)

    @property
    def model(self) -> Layer:
        """The architecture."""
        if self.type == CUSTOM:
            return self.options["model"]
        return MODELS[self.type].make(self.vocab.size, **self.options)

    @property
    def reads(self) -> Reads:
        """Whether the model reads context windows or sequences."""
        return self.options["reads"] if self.type == CUSTOM else MODELS[self.type].reads

    @property
    def cuts_words(self) -> bool:
        """Whether words longer than the block size are cut to it."""
        return self.type != CUSTOM and MODELS[self.type].cuts_words

    @property
    def temperature(self) -> float:
        """The temperature of samples where none is given: 0.5 for microgpt, else 1."""
        return 1.0 if self.type == CUSTOM else MODELS[self.type].temperature


def save(trained: Trained, path: str | os.PathLike[str]) -> None:
    """Save a trained model into a folder.

    If the process is killed on the way, the folder holds the old model or the new one.

    Args:
        trained: the model.
        path: the folder; it is made if it is missing.

    Raises:
        OSError: the files cannot be written.
    """
    work_dir = Path(path)
    work_dir.mkdir(parents=True, exist_ok=True)
    tensors = safetensors.numpy.save(
        {name: np.asarray(leaf) for name, leaf in by_path(_arrays(trained)).items()}
    )
    options = {name: repr(v) if isinstance(v, Layer) else v for name, v in trained.options.items()}
    config = {
        "format": FORMAT,
        "type": trained.type,
        "options": options,
        "vocabulary": trained.vocab.characters,
        "sha256": {TENSORS: hashlib.sha256(tensors).hexdigest()},
        **trained.record,
    }
    text = as_json(config)
    if (work_dir / NEW_TENSORS).exists():  # finish the last save, which was interrupted
        with suppress(OSError, KeyError, TypeError, ValueError):
            there = json.loads((work_dir / CONFIG).read_bytes())
            os.replace(_arrays_of(work_dir, there)[0], work_dir / TENSORS)
    write_atomically(work_dir / NEW_TENSORS, tensors)
    write_atomically(work_dir / CONFIG, text)
    os.replace(work_dir / NEW_TENSORS, work_dir / TENSORS)


def load(path: str | os.PathLike[str], *, model: Layer | None = None) -> Trained:
    """Load a model that :func:`save` or ``jaxmore train`` wrote.

    Args:
        path: the folder.
        model: the layer that was given to :func:`~jaxmore.fit`, if it was one of the caller's own.
            Its description is saved and compared, its code is not.

    Raises:
        InputError: there is no model, its files are damaged, or ``model`` is not the saved one.
    """
    work_dir = Path(path)
    try:
        config = json.loads(read_file(work_dir / CONFIG))
    except OSError as error:
        hint = ""
        if isinstance(error, FileNotFoundError):
            resumes = ": its run is unfinished, train --resume goes on with it"
            hint = resumes if (work_dir / RUN).exists() else ": jaxmore train makes one"
        raise InputError(f"{work_dir} holds no trained model ({error.strerror}){hint}") from error
    except ValueError as error:
        raise InputError(f"{work_dir / CONFIG} is damaged: {error}") from error
    try:
        if config["format"] != FORMAT:
            raise ValueError(f"format {config['format']}, this jaxmore reads {FORMAT}")
        _, tensors = _arrays_of(work_dir, config)
        record = check_type({name: config[name] for name in Record.__annotations__}, Record)
        options = config["options"]
        if config["type"] == CUSTOM or model is not None:
            options = options | {"model": _same(model, options.get("model"))}
        vocab = Vocabulary(config["vocabulary"])
        trained = Trained(config["type"], options, vocab, {}, {}, record)
        template = _template(trained.model, options.get("block_size", 1))
        arrays = _fill(template, safetensors.numpy.load(tensors))
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise InputError(f"the model in {work_dir} cannot be read: {error}") from error
    except TypeCheckError as error:
        line = " ".join(str(error).split())
        raise InputError(f"the model in {work_dir} cannot be read: its {line}") from error
    return trained._replace(params=arrays["params"], stats=arrays["stats"])


def _same(model: Layer | None, description: str | None) -> Layer:
    if model is None:
        raise ValueError("it is not one of jaxmore's models: load it with load(path, model=...)")
    if repr(model) != description:
        raise ValueError(f"it is {description or 'not a custom model'}, not {model!r}")
    return model


def held_out(splits: Container[str]) -> str:
    """Name the split by which models are chosen: dev, or test where there is no dev.

    makemore.py has no dev words and chooses by test, so its types do as well.
    """
    return "dev" if "dev" in splits else "test"


class BestModel:
    """The best model of a run by its held-out loss, kept in memory and in the work folder."""

    def __init__(self, work_dir: Path | None, model: Layer | None = None) -> None:
        """Begin with the model that the folder holds, if any.

        Args:
            work_dir: the folder; None keeps nothing on disk.
            model: as for :func:`load`.

        """
        self._work_dir = work_dir
        self.trained: Trained | None = None
        if work_dir is None or not any((work_dir / name).exists() for name in (CONFIG, TENSORS)):
            return
        try:
            self.trained = load(work_dir, model=model)
        except InputError as error:
            print(f"note: {error}: the next one takes its place", file=sys.stderr)

    def update(self, trained: Trained) -> Trained:
        """Replace the best model unless its held-out loss is lower; return the best model."""
        losses = trained.record["losses"]
        split = held_out(losses)
        best = {} if self.trained is None else self.trained.record["losses"]
        if self.trained is None or losses[split] <= best.get(split, math.inf):
            if self._work_dir is not None:
                save(trained, self._work_dir)
            self.trained = trained
        return self.trained


def _arrays_of(work_dir: Path, config: Any) -> tuple[Path, bytes]:
    """Find the file that a configuration names, even after an interrupted save, and read it."""
    for path in work_dir / TENSORS, work_dir / NEW_TENSORS:
        content = read_file(path) if path.exists() else b""
        if hashlib.sha256(content).hexdigest() == config["sha256"][TENSORS]:
            return path, content
    raise ValueError(f"{TENSORS} is missing, or not the file that {CONFIG} belongs to")


def _arrays(saved: Trained) -> Tree:
    return {"params": saved.params, "stats": saved.stats}


def _template(model: Layer, block_size: int) -> Tree:
    """Return the shapes of a model's arrays. Nothing is computed."""

    def arrays(key: Any, ids: Any) -> Tree:
        params = model.init(key)
        return {"params": params, "stats": model.calibrate(params, ids)[1]}

    ids = jax.ShapeDtypeStruct((2, block_size), jnp.int32)
    return jax.eval_shape(arrays, jax.random.key(0), ids)


def _fill(template: Tree, tensors: dict[str, Shaped[np.ndarray, "..."]]) -> Tree:
    shapes = by_path(template)
    if tensors.keys() != shapes.keys():
        raise ValueError(f"arrays {sorted(tensors)} instead of {sorted(shapes)}")
    for path, leaf in shapes.items():
        if tensors[path].shape != leaf.shape:
            raise ValueError(f"{path} has shape {tensors[path].shape}, expected {leaf.shape}")
        if not np.isfinite(tensors[path]).all():
            raise ValueError(f"{path} holds NaN or infinity")
    leaves = [jnp.array(tensors[path]) for path in shapes]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)
