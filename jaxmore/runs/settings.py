"""What a run trains by: its flags, and what the type's source does where a flag was not given."""

from typing import NamedTuple

from jaxmore.errors import InputError
from jaxmore.models import MODELS
from jaxmore.runs.config import TrainConfig


class Settings(NamedTuple):
    """All that decides the steps of a run beside its model and its words."""

    max_steps: int
    batch_size: int
    optimizer: str
    learning_rate: float
    weight_decay: float
    schedule: str
    warmup_steps: int
    clip_norm: float | None
    on_nan: str
    seed: int


def settle(config: TrainConfig) -> Settings:
    """The notebooks' training for the types that read windows, makemore.py's for the others.

    Raises:
        InputError: a warm-up as long as the run, or patience that nothing tries.
    """
    is_makemores = MODELS[config.type].reads == "sequences"
    optimizer = config.optimizer or ("adamw" if is_makemores else "sgd")
    rate, decay = {"sgd": (0.1, 0.0), "adamw": (5e-4, 0.01), "muon": (5e-3, 0.1)}[optimizer]
    settings = Settings(
        max_steps=config.max_steps or (20_000 if is_makemores else 200_000),
        batch_size=config.batch_size,
        optimizer=optimizer,
        learning_rate=rate if config.learning_rate is None else config.learning_rate,
        weight_decay=decay if config.weight_decay is None else config.weight_decay,
        schedule=config.schedule or ("constant" if is_makemores else "step"),
        warmup_steps=config.warmup_steps,
        clip_norm=config.clip_norm,
        on_nan=config.on_nan,
        seed=(3407 if is_makemores else 2147483647) if config.seed is None else config.seed,
    )
    if settings.warmup_steps >= settings.max_steps:
        raise InputError(
            f"--warmup-steps {settings.warmup_steps} leaves nothing of {settings.max_steps} steps"
        )
    if config.patience is not None and not config.eval_every:
        raise InputError("--patience counts evaluations: say how often with --eval-every")
    return settings
