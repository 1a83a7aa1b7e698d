"""What a training run is asked to do: the flags of ``jaxmore train``, checked. No JAX here."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import arg

from jaxmore.errors import InputError


@dataclass(frozen=True)
class TrainConfig:
    """A training run, by the names of its flags; each is told in the line below it."""

    input_file: Annotated[
        str | None,
        arg(
            aliases=["-i"],
            metavar="FILE",
            help_behavior_hint="(default: $JAXMORE_NAMES, else the embedded names)",
        ),
    ] = None
    """Words, one per line."""
    work_dir: Annotated[str, arg(aliases=["-o"], metavar="DIR")] = "out"
    """Where the model, its metrics and the loss curve go."""
    overwrite: bool = False
    """Replace the run that the work folder holds."""
    unique: bool = False
    """Drop duplicate words before the split, so that no dev or test word stands in train."""

    type: Literal["mlp-bn", "bengio"] = "mlp-bn"
    """The model."""
    block_size: Annotated[
        int | None, arg(metavar="INT", help_behavior_hint="(default: the model's own, 3)")
    ] = None
    """T, the length of the context."""
    n_embd: Annotated[
        int | None, arg(metavar="INT", help_behavior_hint="(default: mlp-bn 10, bengio 2)")
    ] = None
    """E, the length of a character's embedding."""
    n_embd2: Annotated[
        int | None, arg(metavar="INT", help_behavior_hint="(default: mlp-bn 200, bengio 100)")
    ] = None
    """H, the width of the hidden layer."""

    batch_size: Annotated[int, arg(aliases=["-b"])] = 32
    """Examples per step."""
    max_steps: int = 200_000
    """Steps to train for."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """Plain gradient descent, or AdamW (betas 0.9 and 0.99, eps 1e-8)."""
    learning_rate: Annotated[
        float | None,
        arg(aliases=["-l"], metavar="FLOAT", help_behavior_hint="(default: sgd 0.1, adamw 5e-4)"),
    ] = None
    """Learning rate."""
    schedule: Literal["step", "constant"] = "step"
    """step: a tenth of the learning rate from half way on."""
    weight_decay: Annotated[
        float | None,
        arg(aliases=["-w"], metavar="FLOAT", help_behavior_hint="(default: sgd 0, adamw 0.01)"),
    ] = None
    """Decay of every parameter."""
    seed: int = 2147483647
    """Seed of the parameters, the batches and the samples."""
    chunk_size: int = 1_000
    """Steps per jitted call; progress and metrics come once per chunk."""

    def __post_init__(self) -> None:
        """Refuse numbers that no run can have; InputError names the flag."""
        for flag in ("block_size", "n_embd", "n_embd2", "batch_size", "max_steps", "chunk_size"):
            check_at_least(flag, getattr(self, flag), 1)
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise InputError(f"--learning-rate must be positive, got {self.learning_rate}")
        if self.weight_decay is not None and not 0 <= self.weight_decay < math.inf:
            raise InputError(f"--weight-decay must be 0 or more, got {self.weight_decay}")
        check_seed(self.seed)

    @property
    def rate(self) -> float:
        """The first learning rate: the one that was asked for, or the optimiser's default."""
        default = {"sgd": 0.1, "adamw": 5e-4}[self.optimizer]
        return default if self.learning_rate is None else self.learning_rate

    @property
    def decay(self) -> float:
        """The weight decay: the one that was asked for, or the optimiser's default."""
        default = {"sgd": 0.0, "adamw": 0.01}[self.optimizer]
        return default if self.weight_decay is None else self.weight_decay

    @property
    def model_options(self) -> dict[str, int]:
        """The sizes that were asked for; the others stay the model's own."""
        sizes = {"block_size": self.block_size, "n_embd": self.n_embd, "n_embd2": self.n_embd2}
        return {name: size for name, size in sizes.items() if size is not None}


def check_at_least(flag: str, value: int | None, least: int) -> None:
    """Refuse a number below ``least``; None (the default) passes."""
    if value is not None and value < least:
        raise InputError(f"--{flag.replace('_', '-')} must be at least {least}, got {value}")


def check_seed(seed: int) -> None:
    """Refuse a seed that would wrap around in JAX's 32 bits."""
    if not 0 <= seed < 2**32:
        raise InputError(f"--seed must lie in 0..{2**32 - 1}, got {seed}")
