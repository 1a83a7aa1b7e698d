"""A trained model on disk: ``model.safetensors`` and ``config.json``, a pair after every crash.

The arrays are written beside the old ones, then ``config.json``, which names them by their SHA-256,
and then they are renamed. Until the new ``config.json`` is there, the old pair is; from then on its
arrays are, under one name or the other. Loading runs no code: JSON and safetensors hold data only,
and the arrays must have the SHA-256 that the configuration names.
"""

import hashlib
import json
import os
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

from jaxmore.data import Vocabulary
from jaxmore.errors import InputError
from jaxmore.files import write_atomically
from jaxmore.layers import Chain, Tree, by_path
from jaxmore.models import MODELS
from jaxmore.runs.folder import CONFIG, NEW_TENSORS, TENSORS
from jaxmore.runs.records import Record

FORMAT = 1


class SavedModel(NamedTuple):
    """A trained model, ready for inference."""

    type: str
    """One of ``MODELS``."""
    options: dict[str, Any]
    """Of the model's function, every one of them."""
    vocab: Vocabulary
    params: Tree
    stats: Tree
    record: Record

    @property
    def model(self) -> Chain:
        """The architecture."""
        return MODELS[self.type].make(self.vocab.size, **self.options)


def save_model(work_dir: Path, saved: SavedModel) -> None:
    """Write the model into a folder; killed on the way, it leaves the old one or the new."""
    tensors = safetensors.numpy.save(
        {path: np.asarray(leaf) for path, leaf in by_path(_arrays(saved)).items()}
    )
    config = {
        "format": FORMAT,
        "type": saved.type,
        "options": saved.options,
        "vocabulary": saved.vocab.characters,
        "sha256": {TENSORS: hashlib.sha256(tensors).hexdigest()},
        **saved.record,
    }
    text = json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if (work_dir / NEW_TENSORS).exists():  # the last save was cut short: bring it to its end
        with suppress(OSError, KeyError, TypeError, ValueError):
            there = json.loads((work_dir / CONFIG).read_bytes())
            os.replace(_arrays_of(work_dir, there)[0], work_dir / TENSORS)
    write_atomically(work_dir / NEW_TENSORS, tensors)
    write_atomically(work_dir / CONFIG, text.encode())
    os.replace(work_dir / NEW_TENSORS, work_dir / TENSORS)


def load_model(work_dir: Path) -> SavedModel:
    """Read a model that :func:`save_model` wrote.

    Raises:
        InputError: there is none, or its files are not what they should be.
    """
    try:
        config = json.loads((work_dir / CONFIG).read_bytes())
    except OSError as error:
        raise InputError(f"{work_dir} holds no trained model: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{work_dir / CONFIG} is damaged: {error}") from error
    try:
        if config["format"] != FORMAT:
            raise ValueError(f"format {config['format']}, this jaxmore reads {FORMAT}")
        _, tensors = _arrays_of(work_dir, config)
        record = check_type({name: config[name] for name in Record.__annotations__}, Record)
        vocab = Vocabulary(config["vocabulary"])
        saved = SavedModel(config["type"], config["options"], vocab, {}, {}, record)
        template = _template(saved.model, saved.options.get("block_size", 1))
        arrays = _fill(template, safetensors.numpy.load(tensors))
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise InputError(f"the model in {work_dir} cannot be read: {error}") from error
    except TypeCheckError as error:
        line = " ".join(str(error).split())
        raise InputError(f"the model in {work_dir} cannot be read: its {line}") from error
    return saved._replace(params=arrays["params"], stats=arrays["stats"])


def _arrays_of(work_dir: Path, config: Any) -> tuple[Path, bytes]:
    """The file that a configuration names, wherever its save was cut short, and what it holds."""
    for path in work_dir / TENSORS, work_dir / NEW_TENSORS:
        content = path.read_bytes() if path.exists() else b""
        if hashlib.sha256(content).hexdigest() == config["sha256"][TENSORS]:
            return path, content
    raise ValueError(f"{TENSORS} is missing, or not the file that {CONFIG} belongs to")


def _arrays(saved: SavedModel) -> Tree:
    return {"params": saved.params, "stats": saved.stats}


def _template(model: Chain, block_size: int) -> Tree:
    """The shapes of a model's arrays; nothing is computed or allocated."""

    def arrays(key: Any, ids: Any) -> Tree:
        params = model.init(key)
        return {"params": params, "stats": model.calibrate(params, ids)[1]}

    ids = jax.ShapeDtypeStruct((2, block_size), jnp.int32)
    return jax.eval_shape(arrays, jax.random.key(0), ids)


def _fill(template: Tree, tensors: dict[str, Shaped[np.ndarray, "..."]]) -> Tree:
    shapes = by_path(template)
    if tensors.keys() != shapes.keys():
        raise ValueError(f"arrays {sorted(tensors)} in the place of {sorted(shapes)}")
    for path, leaf in shapes.items():
        if tensors[path].shape != leaf.shape:
            raise ValueError(f"{path} has shape {tensors[path].shape}, expected {leaf.shape}")
        if not np.isfinite(tensors[path]).all():
            raise ValueError(f"{path} holds NaN or infinity")
    leaves = [jnp.array(tensors[path]) for path in shapes]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)
