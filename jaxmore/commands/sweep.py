"""``jaxmore sweep``: many trainings, with a table and a figure of them all."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from tyro.conf import Suppress

from jaxmore.commands.flags import MOST, Json, WorkDir, parse_list, try_json, write_json
from jaxmore.errors import InputError
from jaxmore.runs.config import TrainConfig, default
from jaxmore.terminal import paint, say, table

if TYPE_CHECKING:  # JAX is imported when the command runs
    import optax

    from jaxmore.layers import Tree
    from jaxmore.runs.prepared import PreparedRun
    from jaxmore.runs.records import Settings


@dataclass(frozen=True)
class Sweep(TrainConfig):
    """Train once for each learning rate, weight decay and seed; a table and a figure of all.

    On a CPU one run after another: interrupted, what is done is kept. On an accelerator all runs at
    once: interrupted, nothing is.
    """

    work_dir: WorkDir = "out"
    """Where the results and the figure go."""
    overwrite: bool = False
    """Replace what the work folder holds."""
    # A list where a run has a number. What a sweep has no use for is no flag of it.
    learning_rate: Annotated[  # pyright: ignore[reportIncompatibleVariableOverride]
        str | None, default("sgd 0.1, adamw 5e-4, muon 5e-3", "LIST", "-l")
    ] = None
    """Learning rates, such as 0.03,0.1,0.3."""
    weight_decay: Annotated[str | None, default("sgd 0, adamw 0.01, muon 0.1", "LIST", "-w")] = None  # pyright: ignore[reportIncompatibleVariableOverride]
    """Decays of every parameter, with Muon of every matrix, such as 0,0.01."""
    seed: Annotated[str | None, default("2147483647, makemore's types 3407", "LIST")] = None  # pyright: ignore[reportIncompatibleVariableOverride]
    """Seeds, such as 1,2,3, or 0:8 for 0 to 7."""
    json: Json = None
    """Write the results to a file; without FILE print them in place of the table."""
    resume: Suppress[bool] = False
    eval_every: Suppress[int] = 0
    sample_every: Suppress[int] = 0
    patience: Suppress[int | None] = None
    save_every: Suppress[float] = 0.0
    tensorboard: Suppress[bool] = False
    diagnose: Suppress[bool] = False
    dtype: Suppress[Literal["float32", "bfloat16"]] = "float32"
    mesh: Suppress[str | None] = None
    shard_params: Suppress[bool] = False
    deterministic: Suppress[bool] = True
    cpu_devices: Suppress[int | None] = None
    coordinator: Suppress[str | None] = None
    num_processes: Suppress[int | None] = None
    process_id: Suppress[int | None] = None
    debug: Suppress[bool] = False

    def __post_init__(self) -> None:
        """Nothing: each run's own config is checked."""

    def run(self) -> None:
        """Train every combination of the lists; write the results as they come, then a figure."""
        lists = (
            parse_list("learning_rate", self.learning_rate, float),
            parse_list("weight_decay", self.weight_decay, float),
            parse_list("seed", self.seed, int),
        )
        if math.prod(map(len, lists)) > MOST:
            raise InputError(f"a sweep has at most {MOST:,} runs, these are more")
        try_json(self.json)
        names = ("learning_rate", "weight_decay", "seed")
        config = TrainConfig(
            **{f.name: getattr(self, f.name) for f in fields(TrainConfig) if f.name not in names}
        )
        from jaxmore.data import corpus_path
        from jaxmore.models import MODELS
        from jaxmore.runs.folder import check_overwrite, open_folder
        from jaxmore.runs.prepared import prepare
        from jaxmore.runs.records import resolve_settings

        reads = MODELS[config.type].reads
        settings = [
            resolve_settings(
                replace(config, learning_rate=rate, weight_decay=decay, seed=seed), reads
            )
            for rate, decay, seed in product(*lists)
        ]
        check_overwrite(config)
        run = prepare(config, corpus_path(config.input_file), packs=False)
        runs = [run._replace(settings=each) for each in settings]
        together = fits_together(runs)
        with open_folder(config) as work_dir:
            found = _sweep(runs, work_dir, together=together, quiet=self.json == "-")
        write_json(self.json, found)


class Result(NamedTuple):
    """The result of one training of the sweep."""

    settings: "Settings"
    curve: list[float]
    """The mean loss of each chunk."""
    losses: dict[str, float]
    """The exact loss of the train split and of the held-out one."""


def fits_together(runs: "Sequence[PreparedRun]") -> bool:
    """Tell whether to train all runs at once: on an accelerator, if their memory suffices.

    On a CPU one run after another is as fast, and each has the bits of ``jaxmore train``.

    Raises:
        InputError: the runs need more memory than the accelerator has.
    """
    import jax

    from jaxmore.training.memory import check_memory

    if jax.default_backend() == "cpu":
        return False
    run = runs[0]
    n_examples, block_size = run.data["train"][0].shape
    check_memory(
        run.model, run.optimizer, n_examples, block_size, run.settings.batch_size, n_runs=len(runs)
    )
    return True


def _sweep(
    runs: "Sequence[PreparedRun]", work_dir: Path, *, together: bool, quiet: bool
) -> dict[str, Any]:
    """Train, write the results as they come, draw the figure; return what sweep.json holds."""
    import numpy as np

    from jaxmore import plots
    from jaxmore.files import as_json, write_atomically
    from jaxmore.runs.folder import SWEEP, SWEEP_CURVES, replace_run
    from jaxmore.runs.trained import held_out
    from jaxmore.training.evaluation import calibrate, mean_loss

    def tell(line: str) -> None:
        if not quiet:
            say(line)

    run = runs[0]
    tell(run.corpus.describe(run.data))
    tell(f"{run.description}\n{len(runs)} runs of {run.settings.max_steps:,} steps")
    splits = ["train", held_out(run.data)]
    size, last = run.config.chunk_size, run.settings.max_steps
    steps = [*range(size, last, size), last]
    own = ("learning_rate", "weight_decay", "seed")  # stored with each run instead
    flags = {k: v for k, v in run.record["flags"].items() if k not in own}
    results: list[Result] = []
    done: dict[str, Any] = {}
    for each, (params, curve) in zip(runs, train_all(runs, together=together), strict=True):
        stats = calibrate(run.model, params, run.data["train"][0])
        losses = {name: mean_loss(run.model, params, stats, *run.data[name]) for name in splits}
        results.append(Result(each.settings, curve, losses))
        rate, decay = _setting(each.settings)
        line = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
        tell(f"learning rate {rate:g}, weight decay {decay:g}, seed {each.settings.seed}: {line}")
        if not together or len(results) == len(runs):  # one after another: keep what is done
            done = run.record | {
                "flags": flags,
                "steps": steps,
                "runs": [_as_dict(r) for r in results],
            }
            content = as_json(done)
            if len(results) == 1 or together:
                replace_run(work_dir, SWEEP, content)
            else:
                write_atomically(work_dir / SWEEP, content)
    tell(format_table(results))
    by_setting = _by_setting(results)
    curves = {key: np.array([r.curve for r in group]) for key, group in by_setting.items()}
    finals = {
        key: np.array([r.losses[splits[1]] for r in group]) for key, group in by_setting.items()
    }
    plots.save(plots.sweep_curves(steps, curves, finals, splits[1]), work_dir / SWEEP_CURVES)
    tell(f"{work_dir}: {SWEEP}, {SWEEP_CURVES}")
    return done


def train_all(
    runs: "Sequence[PreparedRun]", *, together: bool
) -> "Iterator[tuple[Tree, list[float]]]":
    """Train runs that differ only in learning rate, weight decay and seed, with one program.

    Args:
        runs: prepared from the same flags.
        together: train all runs at once by ``vmap``, with memory for all of them, instead of one
            after another.

    Yields:
        For each run its parameters and the mean loss of each chunk.
    """
    import jax.numpy as jnp

    from jaxmore.training.loop import train
    from jaxmore.training.sweeps import train_together

    first, optimizers = runs[0], _optimizers([run.settings for run in runs])
    X, Y = (jnp.array(a) for a in first.data["train"])
    sizes: dict[str, Any] = {
        "batch_size": first.settings.batch_size,
        "max_steps": first.settings.max_steps,
        "chunk_size": first.config.chunk_size,
    }
    ready = (run._replace(optimizer=own) for run, own in zip(runs, optimizers, strict=True))
    if together:
        states = [run.first_state() for run in ready]
        keys = jnp.stack([run.keys[1] for run in runs])
        yield from train_together(first.model, optimizers[0], states, X, Y, keys, **sizes)
        return
    for run in ready:
        state = run.first_state()
        chunks = list(train(run.model, optimizers[0], state, X, Y, run.keys[1], **sizes))
        yield chunks[-1].state.params, [float(chunk.losses.mean()) for chunk in chunks]


def _optimizers(runs: "Sequence[Settings]") -> "list[optax.GradientTransformation]":
    """Make the optimiser of each run, with the learning rate and decay in its state.

    Any of them can therefore step the state of every other.
    """
    import optax

    from jaxmore.training.optimizers import make_optimizer

    def make(learning_rate: Any, weight_decay: Any) -> "optax.GradientTransformation":
        return make_optimizer.__wrapped__(
            settings.optimizer,
            learning_rate,
            weight_decay,
            settings.schedule,
            settings.max_steps,
            settings.on_nan,
            warmup_steps=settings.warmup_steps,
            clip_norm=settings.clip_norm,
        )

    settings = runs[0]
    # A decay that all runs share stays static: gradient descent without decay needs no term.
    shared = len({run.weight_decay for run in runs}) == 1
    tunable = optax.inject_hyperparams(make, static_args=("weight_decay",) if shared else ())
    return [tunable(run.learning_rate, run.weight_decay) for run in runs]


def format_table(runs: Sequence[Result]) -> str:
    """Return a table of the mean loss of each setting over its seeds, ± standard deviation."""
    import numpy as np

    splits = list(runs[0].losses)
    rows = [["rate", "decay", "seeds", *splits]]
    means: dict[tuple[float, float], float] = {}
    for (rate, decay), group in _by_setting(runs).items():
        losses = np.array([list(run.losses.values()) for run in group])
        losses = losses[np.isfinite(losses).all(1)]
        row = [f"{rate:g}", f"{decay:g}", f"{len(group)}"]
        for of_split in losses.T if len(losses) else ():
            spread = f" ± {of_split.std(ddof=1):.4f}" if len(losses) > 1 else ""
            row.append(f"{of_split.mean():.4f}{spread}")
        if len(losses) < len(group):
            row.append(f"{len(group) - len(losses)} diverged")
        else:
            means[rate, decay] = float(losses[:, -1].mean())
        rows.append(row)
    lines = [table(rows, "<" * max(map(len, rows)))]
    if means:
        rate, decay = min(means, key=means.__getitem__)
        best = f"lowest {splits[-1]}: --learning-rate {rate:g} --weight-decay {decay:g}"
        lines.append(paint(best, "bold"))
    return "\n".join(lines)


def _setting(settings: "Settings") -> tuple[float, float]:
    return settings.learning_rate, settings.weight_decay


def _by_setting(runs: Sequence[Result]) -> dict[tuple[float, float], list[Result]]:
    """Group the runs by setting; those of a group differ in their seeds."""
    groups: dict[tuple[float, float], list[Result]] = {}
    for run in runs:
        groups.setdefault(_setting(run.settings), []).append(run)
    return groups


def _as_dict(run: Result) -> dict[str, Any]:
    """Return a result as JSON, which has no NaN."""
    rate, decay = _setting(run.settings)
    losses = {name: loss if math.isfinite(loss) else None for name, loss in run.losses.items()}
    curve = [loss if math.isfinite(loss) else None for loss in run.curve]
    named = {"learning_rate": rate, "weight_decay": decay, "seed": run.settings.seed}
    return named | {"losses": losses, "curve": curve}
