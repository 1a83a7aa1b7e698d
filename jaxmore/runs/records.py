"""What a run and its model tell of where they come from. JSON."""

import platform
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, TypedDict

import jax

from jaxmore import __version__
from jaxmore.runs.config import TrainConfig
from jaxmore.runs.corpus import Corpus
from jaxmore.runs.folder import FORMAT
from jaxmore.runs.machine import cpu, n_threads
from jaxmore.runs.settings import Settings


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
    """The settings and the step, or what it was converted from."""
    versions: dict[str, Any]
    losses: dict[str, float]
    """By split; none of a converted model."""


def run_record(
    config: TrainConfig, settings: Settings, options: dict[str, Any], corpus: Corpus
) -> dict[str, Any]:
    """What ``run.json`` and every checkpoint hold: all that decides the result."""
    file = str(corpus.path.resolve())
    flags = asdict(config)
    # The values that were used in the place of "the default", whatever that is tomorrow.
    settled = settings._asdict() | options | {"input_file": file}
    return {
        "format": FORMAT,
        "flags": flags | {name: value for name, value in settled.items() if name in flags},
        "data": {"file": file, "sha256": corpus.sha256},
        "vocabulary": corpus.vocab.characters,
        "versions": versions(),
    }


def provenance(settings: Settings, corpus: Corpus, step: int) -> Record:
    """What ``config.json`` tells of a model beside its architecture; its losses come later."""
    return {
        "data": {
            "file": str(corpus.path.resolve()),
            "sha256": corpus.sha256,
            "unique": corpus.unique,
            "longest_word": corpus.longest_word,
        },
        "training": {"step": step, **settings._asdict()},
        "versions": versions(),
        "losses": {},
    }


def versions() -> dict[str, Any]:
    """What the bits of a result depend on besides the seed."""
    return {
        "python": platform.python_version(),
        "jaxmore": __version__,
        **{package: version(package) for package in ("jax", "jaxlib", "numpy", "optax")},
        "device": jax.devices()[0].device_kind,
        "cpu": cpu(),
        "threads": n_threads(),
    }
