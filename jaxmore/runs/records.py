"""What a run is: its settings, resolved from the flags, and the records that its files hold."""

import platform
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, NamedTuple, TypedDict

import jax

from jaxmore import __version__
from jaxmore.errors import InputError
from jaxmore.runs.config import TrainConfig
from jaxmore.runs.corpus import Corpus
from jaxmore.runs.folder import FORMAT
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


def resolve_settings(config: TrainConfig, reads: str) -> Settings:
    """Fill in the settings that the flags leave open.

    The defaults are the notebooks' for models that read windows, makemore.py's for models that
    read sequences, and microgpt's own for microgpt.

    Raises:
        InputError: the warm-up is as long as the run, or there is patience but no evaluation.
    """
    makemore = reads == "sequences"
    steps, batch_size, optimizer, schedule = (
        (1_000, 1, "adam", "linear")
        if config.type == "microgpt"
        else (20_000, 32, "adamw", "constant")
        if makemore
        else (200_000, 32, "sgd", "step")
    )
    optimizer = config.optimizer or optimizer
    rate, decay = {
        "sgd": (0.1, 0.0),
        "adam": (0.01, 0.0),
        "adamw": (5e-4, 0.01),
        "muon": (5e-3, 0.1),
    }[optimizer]
    settings = Settings(
        max_steps=config.max_steps or steps,
        batch_size=config.batch_size or batch_size,
        optimizer=optimizer,
        learning_rate=rate if config.learning_rate is None else config.learning_rate,
        weight_decay=decay if config.weight_decay is None else config.weight_decay,
        schedule=config.schedule or schedule,
        warmup_steps=config.warmup_steps,
        clip_norm=config.clip_norm,
        on_nan=config.on_nan,
        dtype=config.dtype,
        seed=(3407 if makemore else 2147483647) if config.seed is None else config.seed,
    )
    if settings.warmup_steps >= settings.max_steps:
        raise InputError(
            f"--warmup-steps {settings.warmup_steps} leaves nothing of {settings.max_steps} steps"
        )
    if config.patience is not None and not config.eval_every:
        raise InputError("--patience counts evaluations: say how often with --eval-every")
    return settings


def run_record(
    config: TrainConfig, settings: Settings, options: dict[str, Any], corpus: Corpus
) -> dict[str, Any]:
    """Return what ``run.json`` and every checkpoint hold: all that decides the result."""
    flags = asdict(config)
    # The values that were used, since the defaults may be others tomorrow.
    resolved = settings._asdict() | options | {"input_file": corpus.file}
    return {
        "format": FORMAT,
        "flags": flags | {name: value for name, value in resolved.items() if name in flags},
        "data": {"file": corpus.file, "sha256": corpus.sha256},
        "vocabulary": corpus.vocab.characters,
        "versions": versions(),
    }


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
