"""``jaxmore sweep``: many trainings, with a table and a figure of them all."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain, product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Suppress

from jaxmore.commands.flags import MOST, Json, Words, WorkDir, parse_list, try_json, write_json
from jaxmore.commands.sweep_results import Result, Shares, draw, finite, format_table
from jaxmore.errors import InputError
from jaxmore.runs.config import TrainConfig, check_at_least, default
from jaxmore.terminal import say

if TYPE_CHECKING:  # JAX is imported when the command runs
    import optax

    from jaxmore.layers import Tree
    from jaxmore.runs.prepared import PreparedRun
    from jaxmore.runs.records import Settings

LISTS = ("learning_rate", "weight_decay", "seed")
OWN = (*LISTS, "cpu_devices", "num_processes", "process_id")
"""Flags whose meaning differs from ``jaxmore train``."""


@dataclass(frozen=True)
class Sweep(TrainConfig):
    """Train once for each learning rate, weight decay and seed; print a table, draw a figure.

    The runs are spread over all devices. A CPU device trains one run after another, and a sweep
    that is interrupted keeps the finished ones. An accelerator trains its runs at once, and a
    sweep that is interrupted keeps none.
    """

    input_file: Words = None
    """Words, one per line."""
    work_dir: WorkDir = "out"
    """Where the results and the figure go."""
    overwrite: bool = False
    """Replace what the work folder holds."""
    # A list where a run has a number. What a sweep has no use for is no flag of it.
    learning_rate: Annotated[  # pyright: ignore[reportIncompatibleVariableOverride]
        str | None, default("sgd 0.1, adam 0.01, adamw 5e-4, muon 5e-3", "LIST", "-l")
    ] = None
    """Learning rates, such as 0.03,0.1,0.3."""
    weight_decay: Annotated[  # pyright: ignore[reportIncompatibleVariableOverride]
        str | None, default("sgd and adam 0, adamw 0.01, muon 0.1", "LIST", "-w")
    ] = None
    """Weight decays of every parameter, such as 0,0.01; with Muon, of every matrix."""
    seed: Annotated[  # pyright: ignore[reportIncompatibleVariableOverride]
        str | None, default("2147483647, makemore's types and microgpt 3407", "LIST")
    ] = None
    """Seeds, such as 1,2,3, or 0:8 for 0 to 7."""
    cpu_devices: Annotated[int | None, default("one device", "INT")] = None
    """Simulate this many devices on the CPU."""
    num_processes: Annotated[int | None, default("one process", "INT")] = None
    """How many processes share the runs. They share only the work folder."""
    process_id: Annotated[int | None, default("one process", "INT")] = None
    """The number of this process, from 0."""
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
    coordinator: Suppress[str | None] = None
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
        n_runs = math.prod(map(len, lists))
        if n_runs > MOST:
            raise InputError(f"a sweep has at most {MOST:,} runs, got {n_runs:,}")
        folder, n, i = Path(self.work_dir), self.num_processes, self.process_id
        if (n, i) != (None, None):
            self._check_processes(n_runs)
        try_json(self.json)
        config = TrainConfig(
            **{f.name: getattr(self, f.name) for f in fields(TrainConfig) if f.name not in OWN}
        )
        from jaxmore.data import corpus_path
        from jaxmore.files import as_json, write_atomically
        from jaxmore.models import MODELS
        from jaxmore.runs.folder import SWEEP, check_overwrite, open_folder
        from jaxmore.runs.preparation import prepare, resolve_settings
        from jaxmore.training.mesh import simulate_devices

        if self.cpu_devices is not None:
            check_at_least("cpu_devices", self.cpu_devices, 1)
            simulate_devices(self.cpu_devices)
        reads = MODELS[config.type].reads
        settings = [
            resolve_settings(
                replace(config, learning_rate=rate, weight_decay=decay, seed=seed), reads
            )
            for rate, decay, seed in product(*lists)
        ]
        shares, own, overwrite = None, folder, self.overwrite
        if n is not None and i is not None:
            # Only a sweep is replaced here, at the end; nothing else is deleted.
            check_overwrite(folder, overwrite=self.overwrite and (folder / SWEEP).exists())
            asked = [(each.learning_rate, each.weight_decay, each.seed) for each in settings]
            shares, settings = Shares(folder, n, asked, self.overwrite), settings[i::n]
            own = shares.of(i)
            overwrite = (own / SWEEP).exists()
        check_overwrite(own, overwrite=overwrite)
        run = prepare(config, corpus_path(config.input_file), packs=False)
        runs = [run._replace(settings=each) for each in settings]
        record = _record(run)
        done: list[dict[str, Any]] = []
        if shares is not None:
            shares.join(record)  # refuses shares of another sweep
            done = [] if self.overwrite else shares.read(i or 0, record)
        together = trains_together(runs)

        def tell(line: str) -> None:
            if self.json != "-":
                say(line)

        with open_folder(own, overwrite=overwrite):
            found = _sweep(runs, record, own, done, together=together, tell=tell)
            _show(own, found, tell)
        if shares is not None:
            joined = shares.join(record)
            if len(joined) < n_runs:
                tell(f"{folder}: {len(joined)} of {n_runs} runs done; the last process joins them")
                return
            found = found | {"runs": joined}
            write_atomically(folder / SWEEP, as_json(found))
            _show(folder, found, tell)
        write_json(self.json, found)

    def _check_processes(self, n_runs: int) -> None:
        n, i = self.num_processes, self.process_id
        if n is None or i is None:
            raise InputError("--num-processes and --process-id need each other")
        check_at_least("num_processes", n, 1)
        if n > n_runs:
            raise InputError(f"--num-processes {n} is more than the {n_runs} runs of the sweep")
        if not 0 <= i < n:
            raise InputError(f"--process-id must lie in 0..{n - 1}, got {i}")
        if self.json is not None:
            raise InputError(
                "--json needs one process: several write sweep.json in the work folder"
            )


def trains_together(runs: "Sequence[PreparedRun]") -> bool:
    """Tell whether each device trains its runs at once: accelerators, if their memory suffices.

    On a CPU one run after another is as fast, and each has the bits of ``jaxmore train``.

    Raises:
        InputError: the runs need more memory than an accelerator has.
    """
    import jax

    from jaxmore.training.memory import check_memory

    if jax.default_backend() == "cpu":
        return False
    run = runs[0]
    n_examples, block_size = run.data["train"][0].shape
    n_runs = -(-len(runs) // jax.local_device_count())
    check_memory(
        run.model, run.optimizer, n_examples, block_size, run.settings.batch_size, n_runs=n_runs
    )
    return True


def _record(run: "PreparedRun") -> dict[str, Any]:
    """Return what sweep.json holds besides the runs."""
    size, last = run.cadence.chunk_size, run.settings.max_steps
    flags = {k: v for k, v in run.record["flags"].items() if k not in LISTS}
    return run.record | {"flags": flags, "steps": [*range(size, last, size), last]}


def _sweep(
    runs: "Sequence[PreparedRun]",
    record: dict[str, Any],
    work_dir: Path,
    done: Sequence[dict[str, Any]],
    *,
    together: bool,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Train what is not done, write the results as they come; return what sweep.json holds."""
    from jaxmore.files import as_json, write_atomically
    from jaxmore.runs.folder import SWEEP, replace_run
    from jaxmore.runs.trained import held_out
    from jaxmore.training.evaluation import calibrate, mean_loss

    run, left, results = runs[0], runs[len(done) :], [*done]
    tell(run.corpus.describe(run.data))
    tell(f"{run.description}\n{len(left)} runs of {run.settings.max_steps:,} steps")
    splits = ["train", held_out(run.data)]
    for each, (params, curve) in zip(left, train_all(left, together=together), strict=True):
        stats = calibrate(run.model, params, run.data["train"][0])
        losses = [mean_loss(run.model, params, stats, *run.data[name]) for name in splits]
        own = {name: getattr(each.settings, name) for name in LISTS}
        of_splits = dict(zip(splits, finite(losses), strict=True))
        results.append(Result(**own, losses=of_splits, curve=finite(curve))._asdict())
        line = ", ".join(f"{s} {loss:.4f}" for s, loss in zip(splits, losses, strict=True))
        rate, decay, seed = own.values()
        tell(f"learning rate {rate:g}, weight decay {decay:g}, seed {seed}: {line}")
        if not together or each is left[-1]:  # one after another: keep what is done
            content = as_json(record | {"runs": results})
            if (work_dir / SWEEP).exists() and each is not runs[0]:
                write_atomically(work_dir / SWEEP, content)
            else:
                replace_run(work_dir, SWEEP, content)
    return record | {"runs": results}


def _show(work_dir: Path, found: dict[str, Any], tell: Callable[[str], None]) -> None:
    """Print the table of a sweep, and draw it."""
    from jaxmore.runs.folder import SWEEP, SWEEP_CURVES

    results = [Result(**run) for run in found["runs"]]
    tell(format_table(results))
    draw(work_dir, found["steps"], results)
    tell(f"{work_dir}: {SWEEP}, {SWEEP_CURVES}")


def train_all(
    runs: "Sequence[PreparedRun]", *, together: bool
) -> "Iterator[tuple[Tree, list[float]]]":
    """Train runs that differ only in learning rate, weight decay and seed, on all devices.

    Args:
        runs: prepared from the same flags.
        together: each device trains its share of the runs at once by ``vmap``, with memory for all
            of them, instead of one after another.

    Yields:
        For each run its parameters and the mean loss of each chunk.
    """
    import jax
    import jax.numpy as jnp

    from jaxmore.training.loop import train
    from jaxmore.training.sweeps import spread, train_together

    if not runs:
        return
    first, optimizers = runs[0], _optimizers([run.settings for run in runs])
    sizes: dict[str, Any] = {
        "batch_size": first.settings.batch_size,
        "max_steps": first.settings.max_steps,
        "chunk_size": first.cadence.chunk_size,
    }
    ready = [run._replace(optimizer=own) for run, own in zip(runs, optimizers, strict=True)]

    def train_share(
        share: "list[PreparedRun]",
    ) -> "Iterator[list[tuple[Tree, list[float]]]]":
        """Yield the runs of a share as they are after each chunk."""
        X, Y = (jnp.array(a) for a in first.data["train"])
        states = [run.first_state() for run in share]
        if together:
            keys = jnp.stack([run.keys[1] for run in share])
            yield from train_together(first.model, optimizers[0], states, X, Y, keys, **sizes)
            return
        (run,), (state,), curve = share, states, list[float]()
        for chunk in train(run.model, optimizers[0], state, X, Y, run.keys[1], **sizes):
            curve.append(float(chunk.losses.mean()))
            yield [(chunk.state.params, curve)]

    size = -(-len(ready) // jax.local_device_count()) if together else 1
    shares = [ready[i : i + size] for i in range(0, len(ready), size)]
    yield from chain.from_iterable(spread(train_share, shares))


def _optimizers(runs: "Sequence[Settings]") -> "list[optax.GradientTransformation]":
    from jaxmore.training.optimizers import make_optimizer
    from jaxmore.training.sweeps import tunable_optimizers

    settings = runs[0]

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

    return tunable_optimizers(make, [(run.learning_rate, run.weight_decay) for run in runs])
