"""A training run from words to a trained model: in memory, or in a work folder."""

import os
import sys
import traceback
from collections.abc import Generator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import jax

from jaxmore.data.inspection import printable
from jaxmore.errors import InputError
from jaxmore.files import as_json, remove, write_atomically
from jaxmore.layers import Layer, count_parameters
from jaxmore.runs.checkpoints import latest_checkpoint, mark_damaged, restore
from jaxmore.runs.config import PROCESS, TrainConfig
from jaxmore.runs.corpus import Words
from jaxmore.runs.folder import (
    LAST,
    LOSS_CURVE,
    METRICS,
    RUN,
    TENSORBOARD,
    check_overwrite,
    check_same_run,
    check_types,
    note_other_versions,
    open_folder,
    read_record,
    replace_run,
)
from jaxmore.runs.inference import print_words, sample
from jaxmore.runs.metrics import Metrics, Scalars, check_tensorboard, loss_curve
from jaxmore.runs.preparation import prepare
from jaxmore.runs.prepared import PreparedRun
from jaxmore.runs.saver import Saver
from jaxmore.runs.signals import GracefulStop
from jaxmore.runs.trained import Trained, held_out, save
from jaxmore.runs.trainer import BestLoss, Files, RunState, Trainer
from jaxmore.terminal import pasteable, say, table, waiting, width


def fit(
    words: Words,
    type: str = "mlp-bn",
    *,
    model: Layer | None = None,
    work_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
    **flags: Any,
) -> Trained:
    """Train a model on words, with the bits of ``jaxmore train``.

    Args:
        words: a list of words, or the path of a file with one word per line (a ``pathlib.Path``).
        type: one of :data:`jaxmore.models.MODELS`.
        model: a layer of your own instead, from ids (B, T) to logits: (B, V) if it reads context
            windows of ``block_size`` ids, (B, T, V) if it reads whole words.
        work_dir: the folder for the model, checkpoints, metrics and a figure, as ``jaxmore train
            -o`` has it; with ``resume=True`` the run in it goes on. None writes nothing.
        progress: show a progress bar in a notebook or a terminal.
        **flags: the flags of ``jaxmore train`` (the fields of
            :class:`~jaxmore.runs.config.TrainConfig`): ``max_steps``, ``batch_size``,
            ``learning_rate``, ``optimizer``, ``seed``, ``mesh``, ``shard_params``, ...

    Returns:
        The trained model, evaluated: the best one if ``eval_every`` is given, else the last.

    Raises:
        InputError: a flag or a word cannot be used, or the run diverged.
        TypeError: there is no such flag.

    >>> import jaxmore
    >>> trained = jaxmore.fit(["ava", "mia", "zoe", "lea"] * 5, max_steps=20, batch_size=4)
    >>> len(jaxmore.sample(trained, 3))
    3
    """
    from jaxmore.models import MODELS

    if type not in MODELS:
        raise InputError(f"there is no model type {type!r}: {', '.join(MODELS)}")
    flags |= {} if work_dir is None else {"work_dir": os.fspath(work_dir)}
    check_types(flags)
    config = TrainConfig(type=type, **flags)  # pyright: ignore[reportArgumentType]
    if config.mesh is not None and config.cpu_devices is not None:
        from jaxmore.training.mesh import simulate_devices

        simulate_devices(config.cpu_devices)  # before JAX starts
    if work_dir is not None:
        return train_in_folder(config, words, model, quiet=True, progress=progress)
    if config.tensorboard:
        raise InputError("--tensorboard needs a work folder")
    if config.diagnose:
        raise InputError("--diagnose needs a work folder: its ratios go into the metrics")
    with _debugging(on=config.debug):
        run = prepare(config, words, model)
        if several := _several_processes(config):
            several.agree(run)
        start = RunState(0, run.devices.begin(run.first_state()), BestLoss())
        trainer = Trainer(run, start, files=None, quiet=True, progress=progress)
        return trainer.best_model.update(trainer.train())


def train_in_folder(
    config: TrainConfig,
    words: Words,
    model: Layer | None = None,
    *,
    quiet: bool,
    progress: bool = True,
) -> Trained:
    """Train a run in its work folder, or resume it there.

    Args:
        config: the flags of the run.
        words: a list of words, or the path of a file.
        model: a layer of the caller's own, or None for ``config.type``.
        quiet: print nothing, and leave signals alone.
        progress: show a progress bar in a notebook or a terminal.

    Returns:
        The best model of the run.

    Raises:
        InputError: the run cannot begin, diverged, or cannot be written.
        Stopped: a signal arrived; the run can be resumed.
    """
    several = _several_processes(config)
    if several is None:
        return _train_in_folder(config, words, model, quiet=quiet, progress=progress)
    with nullcontext() if quiet else several.ending_together():
        if several.is_first():
            return _train_in_folder(config, words, model, several, quiet=quiet, progress=progress)
        if not quiet:
            several.ignore_signals()  # first, since prepare takes seconds
        run = prepare(config, words, model)
        return several.follow(run, Path(config.work_dir), config.save_every)


def _several_processes(config: TrainConfig) -> Any:
    """Return the module that joins processes, None where there is one."""
    if not jax.distributed.is_initialized():
        if any(getattr(config, flag) is not None for flag in PROCESS):
            raise InputError("from Python, call jax.distributed.initialize in place of these flags")
        return None
    if config.mesh is None:
        return None
    from jaxmore.runs import processes

    return processes


def _train_in_folder(
    config: TrainConfig,
    words: Words,
    model: Layer | None,
    several: Any = None,
    *,
    quiet: bool,
    progress: bool,
) -> Trained:
    work_dir = Path(config.work_dir)
    check_overwrite(work_dir, overwrite=config.overwrite, resume=config.resume)
    if config.tensorboard:
        check_tensorboard()
    theirs = read_record(work_dir) if config.resume else None
    with nullcontext() if quiet else waiting("reading words, tracing the model"):
        run = prepare(config, words, model)
    if theirs is not None:
        check_same_run(theirs, run.record)
        note_other_versions(theirs, run.record)
    if several:
        several.agree(run)
        several.agree_on_folder(work_dir)  # before an old run is replaced
    with (
        open_folder(work_dir, overwrite=config.overwrite, resume=config.resume),
        _debugging(on=config.debug),
    ):
        start = _begin(run, work_dir, resume=config.resume, quiet=quiet)
        if several:
            start = several.told(run, work_dir, start)
        with (
            closing(Metrics(work_dir / METRICS, start.step)) as metrics,
            Saver(work_dir, config.save_every, metrics.sync, saved=start.step or None) as saver,
            closing(Scalars(work_dir / TENSORBOARD, start.step))
            if config.tensorboard
            else nullcontext() as scalars,
        ):
            files = Files(work_dir, metrics, scalars)
            of_first = several.of_first if several else int
            how: Any = {"of_first": of_first, "quiet": quiet, "progress": progress}
            trainer = Trainer(run, start, files, saver, **how)
            # One alone of several processes cannot save.
            last_resort = None if several else trainer.save_and_stop
            signals = nullcontext() if quiet else GracefulStop(last_resort)
            with signals as stop:
                last = trainer.train(stop)
                best = trainer.best_model.update(last)
                _save_last(run, work_dir, last, best, quiet)
                if metrics.last_step:
                    _draw_losses(run, work_dir)
                if not quiet:
                    print_words(sample(best, 20, seed=run.settings.seed), run.corpus.splits)
        if not quiet:
            names = sorted(path.name for path in work_dir.iterdir() if path.name[0] != ".")
            say(f"{work_dir}: {', '.join(names)}")
            _say_what_next(run, work_dir, tensorboard=config.tensorboard)
    if several:
        several.wait_for_all()
    return best


def _say_what_next(run: PreparedRun, work_dir: Path, *, tensorboard: bool) -> None:
    """Name the commands that a user will want after a run, ready to be pasted."""
    folder = f" -o {pasteable(work_dir)}"
    where = "" if work_dir == Path("out") else folder
    rows = [
        ["next:", f"jaxmore sample{where}", "more words"],
        ["", f"jaxmore evaluate{where}", "its losses again"],
    ]
    if run.packed is None:
        rows.append(["", f"jaxmore explore{folder}", "a page with every number of the model"])
    if run.cadence.diagnose:
        rows.append(["", f"jaxmore inspect{where}", "its ratios and layers as figures"])
    if tensorboard:
        logs = pasteable(work_dir / TENSORBOARD)
        rows.append(["", f"tensorboard --logdir {logs}", "its curves"])
    say(table(rows, "<<<", width(), fold=2))


def _begin(run: PreparedRun, work_dir: Path, *, resume: bool, quiet: bool) -> RunState:
    """Restore the state of a run that is resumed, or clear the folder and begin a new one."""
    record = as_json(run.record)
    start = _resume(run, work_dir) if resume else None
    start = start or RunState(0, run.devices.begin(run.first_state()), BestLoss())
    if resume:
        write_atomically(work_dir / RUN, record)
    else:
        replace_run(work_dir, RUN, record)
    if not quiet:
        say(run.corpus.describe(run.data))
        say(run.description)
        if run.devices.note:
            say(run.devices.note)
    return start


def _resume(run: PreparedRun, work_dir: Path) -> RunState | None:
    """Restore the latest intact checkpoint of this run, or None to begin at the first step."""
    checkpoint, damaged = latest_checkpoint(work_dir)
    for path, wrong in damaged.items():
        renamed = mark_damaged(path)
        print(f"note: checkpoint {path.name} is damaged ({wrong}): now {renamed}", file=sys.stderr)
    if checkpoint is None:
        say(f"{work_dir}: no intact checkpoint; the run begins again at the first step")
        return None
    try:
        check_same_run(checkpoint.record, run.record)
    except InputError as error:
        raise InputError(f"{checkpoint.path} is of another run: {error}") from error
    best = BestLoss.of(checkpoint.record)
    if checkpoint.step > run.settings.max_steps:
        raise InputError(
            f"--max-steps {run.settings.max_steps}: the run has done {checkpoint.step} already"
        )
    state = restore(checkpoint.path, run.devices.add_shardings(run.state_shapes()))
    say(f"{work_dir}: resumed after step {checkpoint.step:,}")
    return RunState(checkpoint.step, state, best)


def _save_last(run: PreparedRun, work_dir: Path, last: Trained, best: Trained, quiet: bool) -> None:
    """Save the last model beside the best one, where a run can have both."""
    folder = work_dir / LAST
    if best is last and not run.cadence.eval_every:
        remove(folder)
        return
    save(last, folder)
    if best is not last and not quiet:
        split = held_out(last.record["losses"])
        old, new = (trained.record["losses"][split] for trained in (best, last))
        say(
            f"the model of step {best.record['training'].get('step')} is better ({split} {old:.4f} "
            f"against {new:.4f}) and is kept; the last one is in {folder}"
        )


def _draw_losses(run: PreparedRun, work_dir: Path) -> None:
    from jaxmore import plots

    count = count_parameters(run.model)
    title = f"{run.type}, {count:,} parameters, on {printable(Path(run.corpus.name).name)}"
    plots.save(loss_curve(work_dir, title), work_dir / LOSS_CURVE)


@contextmanager
def _debugging(*, on: bool) -> Generator[None]:
    """Turn on JAX's checks for NaN, for keys that are used twice and for leaked tracers."""
    if not on:
        yield
        return
    try:
        with jax.debug_nans(True), jax.debug_key_reuse(True), jax.checking_leaks():
            yield
    except FloatingPointError as error:
        ours = [at for at in traceback.extract_tb(error.__traceback__) if "jaxmore" in at.filename]
        where = f"{ours[-1].name} ({Path(ours[-1].filename).name}, line {ours[-1].lineno})"
        what = next(iter(str(error).splitlines()), "NaN")
        raise InputError(f"--debug: {what} in {where}") from error
