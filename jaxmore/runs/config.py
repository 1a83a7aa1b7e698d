"""The flags of ``jaxmore train`` and their checks. No JAX."""

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
    "microgpt",
]
"""The keys of ``jaxmore.models.MODELS``, repeated here so that JAX need not be imported."""

WORDS = "$JAXMORE_NAMES, else the names that come with jaxmore"
"""The words that are read if no flag names a file."""

SIZES = ("block_size", "n_layer", "n_head", "n_embd", "n_embd2")

COUNTS = ("batch_size", "max_steps", "chunk_size", "patience", "cpu_devices")

PROCESS = ("coordinator", "num_processes", "process_id")
"""Flags of one of several processes, which a resumed run does not take over."""

CHANGEABLE = (
    "input_file",
    "work_dir",
    "overwrite",
    "resume",
    "chunk_size",
    "eval_every",
    "sample_every",
    "patience",
    "save_every",
    "tensorboard",
    "diagnose",
    "device",
    "mesh",
    "shard_params",
    "cpu_devices",
    "debug",
    *PROCESS,
)
"""Flags that do not affect what a step computes, so a resumed run may change them."""


def default(text: str, metavar: str, *aliases: str) -> Any:
    """Describe in ``--help`` what the default None of a flag stands for."""
    return arg(aliases=aliases, metavar=metavar, help_behavior_hint=f"(default: {text})")


BATCH_SIZE = default("32, microgpt 1", "INT", "-b")
BLOCK_SIZE = default("3, wavenet 8, microgpt 16, makemore's types the longest word + 1", "INT")
N_LAYER = default("deep-mlp-bn 5, transformer 4, microgpt 1", "INT")
SEED = default("2147483647, makemore's types and microgpt 3407", "INT")
Optimizer = Annotated[
    Literal["sgd", "adam", "adamw", "muon"] | None,
    default("sgd, makemore's types adamw, microgpt adam", "{sgd,adam,adamw,muon}"),
]
Device = Annotated[str | None, default("what JAX finds", "cpu|gpu|tpu")]


@dataclass(frozen=True)
class TrainConfig:
    """The flags of a training run; each is documented in the line below it."""

    input_file: Annotated[str | None, default(WORDS, "FILE", "-i")] = None
    """Words, one per line, or a pack."""
    work_dir: Annotated[str, arg(aliases=["-o"], metavar="DIR")] = "out"
    """Folder for the model, its metrics and the loss curve."""
    overwrite: bool = False
    """Replace the run that the work folder holds."""
    resume: bool = False
    """Resume the run that the work folder holds; the flags of that run are the defaults."""
    unique: bool = False
    """Drop duplicate words before the split, so that no dev or test word is in train."""

    type: ModelName = "mlp-bn"
    """The model. bigram to transformer are makemore's types, which read whole words."""
    block_size: Annotated[int | None, BLOCK_SIZE] = None
    """T, the length of a context or of a sequence."""
    n_layer: Annotated[int | None, N_LAYER] = None
    """Number of blocks; in deep-mlp-bn, of hidden layers."""
    n_head: Annotated[int | None, default("4", "INT")] = None
    """N, the number of attention heads."""
    n_embd: Annotated[int | None, default("the type's own, makemore's 64", "INT")] = None
    """E, the size of a character's embedding."""
    n_embd2: Annotated[int | None, default("the type's own, makemore's 64", "INT")] = None
    """H, the width of the hidden layer."""

    batch_size: Annotated[int | None, BATCH_SIZE] = None
    """Examples per step."""
    max_steps: Annotated[
        int | None, default("200,000, makemore's types 20,000, microgpt 1,000", "INT")
    ] = None
    """Number of training steps."""
    optimizer: Optimizer = None
    """SGD, Adam (betas 0.85, 0.99), AdamW (0.9, 0.99), or Muon for matrices, Nadam for vectors."""
    learning_rate: Annotated[
        float | None, default("sgd 0.1, adam 0.01, adamw 5e-4, muon 5e-3", "FLOAT", "-l")
    ] = None
    """The peak learning rate."""
    schedule: Annotated[
        Literal["constant", "step", "cosine", "linear"] | None,
        default(
            "step, makemore's types constant, microgpt linear", "{constant,step,cosine,linear}"
        ),
    ] = None
    """step: a tenth of the learning rate in the second half; cosine, linear: decay to zero."""
    warmup_steps: int = 0
    """Steps of linear learning-rate warmup."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the forward and backward passes; parameters and optimiser stay in float32."""
    clip_norm: Annotated[float | None, default("no clipping", "FLOAT")] = None
    """Scale gradients down to this global norm."""
    weight_decay: Annotated[
        float | None, default("sgd and adam 0, adamw 0.01, muon 0.1", "FLOAT", "-w")
    ] = None
    """Weight decay of every parameter; with Muon, of every matrix."""
    seed: Annotated[int | None, SEED] = None
    """Seed for the parameters, the batches and the samples."""
    chunk_size: int = 1_000
    """Steps per jitted call; progress and metrics are written once per chunk."""
    eval_every: int = 0
    """Steps between evaluations; the best model is kept. 0: only at the end."""
    sample_every: int = 0
    """Steps between samples of ten words; 0: only at the end."""
    patience: Annotated[int | None, default("no early stop", "INT")] = None
    """Stop after this many evaluations without a better dev loss (test loss if there is no dev)."""
    save_every: float = 30.0
    """Seconds between checkpoints; 0: after every chunk."""
    tensorboard: bool = False
    """Also write TensorBoard scalars to the work folder. Needs jaxmore[tensorboard]."""
    diagnose: bool = False
    """Also record gradient-to-data ratios in the metrics, for jaxmore inspect to draw."""
    on_nan: Literal["stop", "skip"] = "stop"
    """At a NaN or infinite gradient: stop the run, or skip the step (at most 1,000 in a row)."""
    device: Device = None
    """The platform to train on."""
    mesh: Annotated[str | None, default("one device", "data=N,model=M")] = None
    """Split each batch into N parts, a transformer's weights into M: N·M devices. Experimental."""
    shard_params: bool = False
    """With --mesh, keep a share of parameters and optimiser state on each of the N devices."""
    deterministic: bool = True
    """With --mesh, sum gradients in a fixed tree: the same bits on 1, 2, 4 and 8 devices."""
    cpu_devices: Annotated[int | None, default("one device", "INT")] = None
    """With --mesh, simulate this many devices on the CPU."""
    coordinator: Annotated[str | None, default("one process", "HOST:PORT|auto")] = None
    """Where process 0 listens; auto asks SLURM, Kubernetes or Open MPI. Needs --mesh."""
    num_processes: Annotated[int | None, default("one process", "INT")] = None
    """How many processes share the run. Needs --coordinator HOST:PORT."""
    process_id: Annotated[int | None, default("one process", "INT")] = None
    """The number of this process, from 0; process 0 alone prints."""
    debug: bool = False
    """Turn on JAX's checks for NaNs, reused keys and leaked tracers. Slow."""

    def __post_init__(self) -> None:
        """Raise InputError, naming the flag, for a number that no run can have."""
        for flag in (*COUNTS, *SIZES):
            check_at_least(flag, getattr(self, flag), 1)
        for flag in ("warmup_steps", "eval_every", "sample_every"):
            check_at_least(flag, getattr(self, flag), 0)
        for flag in (*COUNTS, *SIZES):
            if (getattr(self, flag) or 0) >= 2**31:  # JAX counts in 32 bits
                raise InputError(
                    f"--{flag.replace('_', '-')} must be below 2³¹, got {getattr(self, flag)}"
                )
        for flag in ("learning_rate", "clip_norm"):
            value = getattr(self, flag)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"--{flag.replace('_', '-')} must be positive, got {value}")
        for flag in ("weight_decay", "save_every"):
            value = getattr(self, flag)
            if value is not None and not 0 <= value < math.inf:
                raise InputError(f"--{flag.replace('_', '-')} must be 0 or more, got {value}")
        if self.seed is not None:
            check_seed(self.seed)


def check_at_least(flag: str, value: int | None, least: int) -> None:
    """Raise InputError for a number below ``least``; None passes."""
    if value is not None and value < least:
        raise InputError(f"--{flag.replace('_', '-')} must be at least {least}, got {value}")


def check_seed(seed: int) -> None:
    """Raise InputError for a seed that does not fit JAX's 32 bits."""
    if not 0 <= seed < 2**32:
        raise InputError(f"--seed must lie in 0..{2**32 - 1}, got {seed}")
