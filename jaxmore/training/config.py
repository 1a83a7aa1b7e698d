"""What a training run is asked to do: the flags of ``jaxmore train``, checked. No JAX here."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from tyro.conf import arg

from jaxmore.errors import InputError

ModelName = Literal[
    "mlp-bn",
    "bengio",
    "deep-mlp-bn",
    "wavenet",
    "bigram",
    "mlp",
    "bow",
    "rnn",
    "gru",
    "lstm",
    "transformer",
]
"""The keys of ``jaxmore.models.MODELS``, told again: naming them must not import JAX."""

WORDS = "$JAXMORE_NAMES, else the embedded names"
"""Where words come from that no flag names."""

SIZES = ("block_size", "n_layer", "n_head", "n_embd", "n_embd2")

CADENCE = (
    "input_file",
    "work_dir",
    "overwrite",
    "resume",
    "chunk_size",
    "save_every",
    "debug",
)
"""Flags that change no bit of the result: a resumed run may have others than it began with."""


def default(text: str, metavar: str, *aliases: str) -> Any:
    """How ``--help`` shows a flag whose default, None, stands for what ``text`` says."""
    return arg(aliases=aliases, metavar=metavar, help_behavior_hint=f"(default: {text})")


@dataclass(frozen=True)
class TrainConfig:
    """A training run, by the names of its flags; each is told in the line below it."""

    input_file: Annotated[str | None, default(WORDS, "FILE", "-i")] = None
    """Words, one per line."""
    work_dir: Annotated[str, arg(aliases=["-o"], metavar="DIR")] = "out"
    """Where the model, its metrics and the loss curve go."""
    overwrite: bool = False
    """Replace the run that the work folder holds."""
    resume: bool = False
    """Go on with the run that the work folder holds; its flags are the defaults."""
    unique: bool = False
    """Drop duplicate words before the split, so that no dev or test word stands in train."""

    type: ModelName = "mlp-bn"
    """The model."""
    block_size: Annotated[int | None, default("the type's own", "INT")] = None
    """T, the length of the context, or of a sequence."""
    n_layer: Annotated[int | None, default("deep-mlp-bn 5, transformer 4", "INT")] = None
    """How many blocks."""
    n_head: Annotated[int | None, default("4", "INT")] = None
    """N, heads of the transformer's attention."""
    n_embd: Annotated[int | None, default("the type's own, makemore's 64", "INT")] = None
    """E, the length of a character's embedding."""
    n_embd2: Annotated[int | None, default("the type's own, makemore's 64", "INT")] = None
    """H, the width of the hidden layer."""

    batch_size: Annotated[int, arg(aliases=["-b"])] = 32
    """Examples per step."""
    max_steps: Annotated[int | None, default("200000, makemore's types 20000", "INT")] = None
    """Steps to train for."""
    optimizer: Annotated[
        Literal["sgd", "adamw"] | None, default("sgd, makemore's types adamw", "{sgd,adamw}")
    ] = None
    """Plain gradient descent, or AdamW (betas 0.9 and 0.99, eps 1e-8)."""
    learning_rate: Annotated[float | None, default("sgd 0.1, adamw 5e-4", "FLOAT", "-l")] = None
    """Learning rate."""
    schedule: Annotated[
        Literal["step", "constant"] | None,
        default("step, makemore's types constant", "{step,constant}"),
    ] = None
    """step: a tenth of the learning rate from half way on."""
    weight_decay: Annotated[float | None, default("sgd 0, adamw 0.01", "FLOAT", "-w")] = None
    """Decay of every parameter."""
    seed: Annotated[int | None, default("2147483647, makemore's types 3407", "INT")] = None
    """Seed of the parameters, the batches and the samples."""
    chunk_size: int = 1_000
    """Steps per jitted call; progress and metrics come once per chunk."""
    save_every: float = 30.0
    """Seconds between two checkpoints; 0: after every chunk."""
    on_nan: Literal["stop", "skip"] = "stop"
    """What a step does whose gradient is NaN or infinite: stop the run, or change nothing."""
    debug: bool = False
    """JAX's checks for NaN, for keys used twice and for leaked tracers. Slow."""

    def __post_init__(self) -> None:
        """Refuse numbers that no run can have; InputError names the flag."""
        for flag in ("batch_size", "max_steps", "chunk_size", *SIZES):
            check_at_least(flag, getattr(self, flag), 1)
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise InputError(f"--learning-rate must be positive, got {self.learning_rate}")
        if self.weight_decay is not None and not 0 <= self.weight_decay < math.inf:
            raise InputError(f"--weight-decay must be 0 or more, got {self.weight_decay}")
        if not 0 <= self.save_every < math.inf:
            raise InputError(f"--save-every must be 0 or more, got {self.save_every}")
        check_seed(self.first_seed)

    # What was asked for, or the default of the type: the notebooks' training or makemore.py's.

    @property
    def steps(self) -> int:
        """Steps to train for."""
        return self.max_steps or (20_000 if self.is_makemores else 200_000)

    @property
    def optimizer_name(self) -> str:
        """``sgd`` or ``adamw``."""
        return self.optimizer or ("adamw" if self.is_makemores else "sgd")

    @property
    def schedule_name(self) -> str:
        """``step`` or ``constant``."""
        return self.schedule or ("constant" if self.is_makemores else "step")

    @property
    def rate(self) -> float:
        """The first learning rate."""
        default = {"sgd": 0.1, "adamw": 5e-4}[self.optimizer_name]
        return default if self.learning_rate is None else self.learning_rate

    @property
    def decay(self) -> float:
        """The weight decay."""
        default = {"sgd": 0.0, "adamw": 0.01}[self.optimizer_name]
        return default if self.weight_decay is None else self.weight_decay

    @property
    def first_seed(self) -> int:
        """The seed of everything random."""
        default = 3407 if self.is_makemores else 2147483647
        return default if self.seed is None else self.seed

    @property
    def is_makemores(self) -> bool:
        """Whether the type is one of makemore.py's (or would be: lstm)."""
        return self.type in ("bigram", "mlp", "bow", "rnn", "gru", "lstm", "transformer")

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes that were asked for and that the model has a say in."""
        asked = {name: getattr(self, name) for name in SIZES}
        if self.type in ("bigram", "rnn", "gru", "lstm"):
            del asked["block_size"]  # of the sequences alone
        return {name: size for name, size in asked.items() if size is not None}


def check_at_least(flag: str, value: int | None, least: int) -> None:
    """Refuse a number below ``least``; None (the default) passes."""
    if value is not None and value < least:
        raise InputError(f"--{flag.replace('_', '-')} must be at least {least}, got {value}")


def check_seed(seed: int) -> None:
    """Refuse a seed that would wrap around in JAX's 32 bits."""
    if not 0 <= seed < 2**32:
        raise InputError(f"--seed must lie in 0..{2**32 - 1}, got {seed}")
