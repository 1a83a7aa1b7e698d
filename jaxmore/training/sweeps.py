"""What ``jaxmore sweep`` does: many trainings, a table and a figure of them all."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product, zip_longest
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from jaxmore import plots
from jaxmore.errors import InputError
from jaxmore.files import write_atomically
from jaxmore.layers import Layer, Tree, describe
from jaxmore.runs.best import held_out
from jaxmore.runs.config import TrainConfig
from jaxmore.runs.corpus import describe_corpus
from jaxmore.runs.folder import (
    SWEEP,
    SWEEP_CURVES,
    as_json,
    clear,
    locked,
    refuse_surprise,
)
from jaxmore.runs.prepared import Task, prepare
from jaxmore.runs.settings import Settings, settle
from jaxmore.training.evaluation import calibrate, mean_loss
from jaxmore.training.loop import COMPILER_OPTIONS, State, scan_steps, train
from jaxmore.training.memory import check_memory
from jaxmore.training.optimizers import make_optimizer

MOST_RUNS = 10_000
Number = TypeVar("Number", int, float)


class Run(NamedTuple):
    """A training of the sweep, done."""

    settings: Settings
    curve: list[float]
    """The mean loss of each chunk."""
    losses: dict[str, float]
    """The exact loss of the train split and of the held-out one."""


def run_sweep(
    config: TrainConfig, *, learning_rates: str | None, weight_decays: str | None, seeds: str | None
) -> None:
    """``jaxmore sweep``: K trainings on the same words, one program."""
    lists = (
        parse_list("learning_rate", learning_rates, float),
        parse_list("weight_decay", weight_decays, float),
        parse_list("seed", seeds, int),
    )
    if math.prod(map(len, lists)) > MOST_RUNS:
        raise InputError(f"a sweep has at most {MOST_RUNS:,} runs, these are more")
    settings = [
        settle(replace(config, learning_rate=rate, weight_decay=decay, seed=seed))
        for rate, decay, seed in product(*lists)
    ]
    refuse_surprise(config)
    task = prepare(config)
    tasks = [task._replace(settings=each) for each in settings]
    together = jax.default_backend() != "cpu"
    if together:
        n_examples, block_size = task.data["train"][0].shape
        check_memory(
            task.model,
            task.optimizer,
            n_examples,
            block_size,
            config.batch_size,
            n_runs=len(tasks),
        )
    work_dir = Path(config.work_dir)
    with locked(work_dir):
        refuse_surprise(config)  # again, now that nobody else can begin one
        try:
            _run(tasks, work_dir, together=together)
        except OSError as error:
            raise InputError(f"cannot write to {work_dir}: {error.strerror or error}") from error


def _run(tasks: Sequence[Task], work_dir: Path, *, together: bool) -> None:
    task = tasks[0]
    print(describe_corpus(task.corpus, task.vocab, task.data))
    print(describe(task.model))
    print(f"{len(tasks)} runs of {task.settings.max_steps:,} steps", flush=True)
    splits = ["train", held_out(task.data)]
    size, last = task.config.chunk_size, task.settings.max_steps
    steps = [*range(size, last, size), last]
    its_own = ("learning_rate", "weight_decay", "seed")  # each run tells them
    flags = {k: v for k, v in task.record["flags"].items() if k not in its_own}
    runs: list[Run] = []
    for each, (params, curve) in zip(tasks, train_all(tasks, together=together), strict=True):
        stats = calibrate(task.model, params, task.data["train"][0])
        losses = {name: mean_loss(task.model, params, stats, *task.data[name]) for name in splits}
        runs.append(Run(each.settings, curve, losses))
        told = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
        rate, decay = _setting(each.settings)
        told = f"learning rate {rate:g}, weight decay {decay:g}, seed {each.settings.seed}: {told}"
        print(told, flush=True)
        if len(runs) == 1:
            clear(work_dir)
        if not together or len(runs) == len(tasks):  # one after another: what is done is kept
            done = {"flags": flags, "steps": steps, "runs": [_as_dict(run) for run in runs]}
            write_atomically(work_dir / SWEEP, as_json(task.record | done))
    print(format_table(runs))
    by_setting = _by_setting(runs)
    curves = {key: np.array([run.curve for run in group]) for key, group in by_setting.items()}
    finals = {
        key: np.array([run.losses[splits[1]] for run in group]) for key, group in by_setting.items()
    }
    plots.save(plots.sweep_curves(steps, curves, finals, splits[1]), work_dir / SWEEP_CURVES)
    print(f"{work_dir}: {SWEEP}, {SWEEP_CURVES}")


def parse_list(flag: str, text: str | None, kind: Callable[[str], Number]) -> list[Number | None]:
    """The numbers of a list ``a,b,c``; for integers also ranges ``a:b``, that is a to b − 1.

    Args:
        flag: for the message.
        text: None: the list of one None, which stands for the default.
        kind: ``int`` or ``float``.

    Raises:
        InputError: there is no number in it, or what is no number, or a number twice.

    >>> parse_list("seed", "0:3,7", int)
    [0, 1, 2, 7]
    """
    if text is None:
        return [None]
    name, numbers = f"--{flag.replace('_', '-')}", list[Number | None]()
    for part in text.split(","):
        first, colon, end = part.partition(":")
        try:
            if colon and kind is int:  # cut where it is too long, lest it fill the memory
                its = [kind(str(i)) for i in range(int(first), int(end))[: MOST_RUNS + 1]]
            else:
                its = [kind(part)]
        except ValueError:
            raise InputError(f"{name} {text!r}: {part!r} is not a number or a range") from None
        if not its:
            raise InputError(f"{name} {text!r}: the range {part} is empty")
        numbers += its
    if len(set(numbers)) < len(numbers):
        raise InputError(f"{name} {text!r} holds a number twice")
    return numbers


# ---------------------------------------------------------------------------------------- training


def train_all(tasks: Sequence[Task], *, together: bool) -> Iterator[tuple[Tree, list[float]]]:
    """Train runs that differ in learning rate, weight decay and seed alone.

    All of them are one compiled program: what they differ in is data to it.

    Args:
        tasks: of the same config.
        together: every step of all runs at once, by ``vmap``; memory for all of them. Else one
            run after another: on a CPU that is as fast, and each run has the bits of
            ``jaxmore train``.

    Yields:
        For each run its parameters and the mean loss of each chunk.
    """
    first, settings, config = tasks[0], tasks[0].settings, tasks[0].config
    X, Y = (jnp.array(a) for a in first.data["train"])
    optimizers = _optimizers([task.settings for task in tasks])
    ready = (task._replace(optimizer=own) for task, own in zip(tasks, optimizers, strict=True))
    if not together:
        for task in ready:
            chunks = list(
                train(
                    task.model,
                    optimizers[0],
                    task.fresh(),
                    X,
                    Y,
                    task.keys[1],
                    batch_size=settings.batch_size,
                    max_steps=settings.max_steps,
                    chunk_size=config.chunk_size,
                )
            )
            yield chunks[-1].state.params, [float(chunk.losses.mean()) for chunk in chunks]
        return
    states = jax.tree.map(lambda *a: jnp.stack(a), *[task.fresh() for task in ready])
    keys = jnp.stack([task.keys[1] for task in tasks])
    curves: list[Any] = []
    for start in range(0, settings.max_steps, config.chunk_size):
        n_steps = min(config.chunk_size, settings.max_steps - start)
        states, losses = train_chunks(
            first.model,
            optimizers[0],
            states,
            X,
            Y,
            keys,
            jnp.asarray(start),
            batch_size=settings.batch_size,
            n_steps=n_steps,
        )
        curves.append(np.asarray(losses).mean(1))
    for i, curve in enumerate(np.stack(curves, 1)):
        yield jax.tree.map(lambda a, i=i: a[i], states.params), curve.tolist()


@partial(
    jax.jit,
    static_argnames=("model", "optimizer", "batch_size", "n_steps"),
    donate_argnames="states",
    compiler_options=COMPILER_OPTIONS,
)
def train_chunks(
    model: Layer,
    optimizer: optax.GradientTransformation,
    states: State,
    X: Int[Array, "n T"],
    Y: Int[Array, "n ..."],
    keys: Array,
    first_step: Int[Array, ""],
    *,
    batch_size: int,
    n_steps: int,
) -> tuple[State, Float[Array, "K S"]]:
    """``scan_steps`` of K runs at once, over the same examples; no ratios of updates.

    Args:
        model: static.
        optimizer: static; what differs between the runs is in its state.
        states: of K runs, stacked; donated.
        X: all training inputs.
        Y: all training targets.
        keys: of the batches, (K,).
        first_step: the number of the chunk's first step.
        batch_size: B, of each run.
        n_steps: S.

    Returns:
        The new states, and the loss of each step of each run.
    """

    def one(state: State, key: Array) -> tuple[State, Array]:
        return scan_steps(
            model, optimizer, state, X, Y, key, first_step, batch_size=batch_size, n_steps=n_steps
        )[:2]

    return jax.vmap(one)(states, keys)


def _optimizers(runs: Sequence[Settings]) -> list[optax.GradientTransformation]:
    """The optimiser of each run, with its learning rate and decay in its state, not in its code.

    So any of them steps the state of every other.
    """

    def make(learning_rate: Any, weight_decay: Any) -> optax.GradientTransformation:
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
    # A decay that all runs share stays in the code: gradient descent without one has no term.
    shared = len({run.weight_decay for run in runs}) == 1
    tunable = optax.inject_hyperparams(make, static_args=("weight_decay",) if shared else ())
    return [tunable(run.learning_rate, run.weight_decay) for run in runs]


# ----------------------------------------------------------------------------------------- results


def format_table(runs: Sequence[Run]) -> str:
    """The mean loss of each setting over its seeds, ± their standard deviation."""
    splits = list(runs[0].losses)
    rows = [["learning rate", "weight decay", "seeds", *splits]]
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
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    ]
    if means:
        rate, decay = min(means, key=means.__getitem__)
        lines.append(f"lowest {splits[-1]}: --learning-rate {rate:g} --weight-decay {decay:g}")
    return "\n".join(lines)


def _setting(settings: Settings) -> tuple[float, float]:
    return settings.learning_rate, settings.weight_decay


def _by_setting(runs: Sequence[Run]) -> dict[tuple[float, float], list[Run]]:
    """The runs of each setting, which differ in their seeds."""
    groups: dict[tuple[float, float], list[Run]] = {}
    for run in runs:
        groups.setdefault(_setting(run.settings), []).append(run)
    return groups


def _as_dict(run: Run) -> dict[str, Any]:
    """A run for JSON, which has no word for NaN."""
    rate, decay = _setting(run.settings)
    losses = {name: loss if math.isfinite(loss) else None for name, loss in run.losses.items()}
    curve = [loss if math.isfinite(loss) else None for loss in run.curve]
    named = {"learning_rate": rate, "weight_decay": decay, "seed": run.settings.seed}
    return named | {"losses": losses, "curve": curve}
