"""What the files of a run say of it: its words, settings, versions and losses."""

import platform
from importlib.metadata import version
from typing import Any, NamedTuple, TypedDict

import jax

from jaxmore import __version__
from jaxmore.runs.corpus import Corpus
from jaxmore.runs.machine import cpu, n_threads


class Settings(NamedTuple):
    """All that decides the steps of a run besides its model and its words."""

    max_steps: int
    batch_size: int
    optimizer: str
    learning_rate: float
    weight_decay: float
    schedule: str
    warmup_steps: int
    clip_norm: float | None
    on_nan: str
    dtype: str
    seed: int


class Data(TypedDict):
    """The words that a model was trained on."""

    file: str
    sha256: str
    unique: bool
    longest_word: int


class Record(TypedDict):
    """Where a model comes from. JSON."""

    data: Data
    training: dict[str, Any]
    """The settings and the step, or what the model was converted from."""
    versions: dict[str, Any]
    losses: dict[str, float]
    """The loss of each split; empty for a converted model."""


def model_record(settings: Settings, corpus: Corpus, step: int) -> Record:
    """Return what ``config.json`` holds besides the architecture; the losses come later."""
    return {
        "data": {
            "file": corpus.file,
            "sha256": corpus.sha256,
            "unique": corpus.unique,
            "longest_word": corpus.longest_word,
        },
        "training": {"step": step, **settings._asdict()},
        "versions": versions(),
        "losses": {},
    }


def versions() -> dict[str, Any]:
    """Return what the bits of a result depend on besides the seed."""
    return {
        "python": platform.python_version(),
        "jaxmore": __version__,
        **{package: version(package) for package in ("jax", "jaxlib", "numpy", "optax")},
        "device": jax.devices()[0].device_kind,
        "cpu": cpu(),
        "threads": n_threads(),
    }
