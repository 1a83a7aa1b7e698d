"""What ``jaxmore train`` does, from a file of words to a trained model and new words."""

import math
import shutil
import sys
import traceback
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

import jax

from jaxmore import plots
from jaxmore.errors import InputError
from jaxmore.files import write_atomically
from jaxmore.layers import describe
from jaxmore.runs.best import Best, held_out
from jaxmore.runs.checkpoints import newest_whole, restore, set_aside
from jaxmore.runs.config import TrainConfig
from jaxmore.runs.corpus import describe_corpus
from jaxmore.runs.folder import (
    LAST,
    LOSS_CURVE,
    METRICS,
    RUN,
    as_json,
    check_same_run,
    clear,
    locked,
    note_other_versions,
    read_record,
    refuse_surprise,
)
from jaxmore.runs.inference import print_samples
from jaxmore.runs.metrics import Metrics
from jaxmore.runs.prepared import Task, prepare
from jaxmore.runs.saver import Saver
from jaxmore.runs.signals import GracefulStop
from jaxmore.runs.trained import SavedModel, save_model
from jaxmore.runs.trainer import Moment, Session


def run_training(config: TrainConfig) -> None:
    """``jaxmore train``: words in; a trained model, its metrics and new words out."""
    work_dir = Path(config.work_dir)
    refuse_surprise(config)
    theirs = read_record(work_dir) if config.resume else None
    task = prepare(config)
    if theirs is not None:
        check_same_run(theirs, task.record)
        note_other_versions(theirs, task.record)
    with locked(work_dir):
        refuse_surprise(config)  # again, now that nobody else can begin one
        try:
            with debugging(on=config.debug):
                _run(task)
        except OSError as error:
            raise InputError(f"cannot write to {work_dir}: {error.strerror or error}") from error


def _run(task: Task) -> None:
    work_dir = Path(task.config.work_dir)
    start = _begin(task)
    with (
        closing(Metrics(work_dir / METRICS, start.step)) as metrics,
        Saver(work_dir, task.config.save_every, before=metrics.sync) as saver,
    ):
        session = Session(task, start, metrics, saver)
        with GracefulStop(session.save_and_go) as stop:
            session.train(stop)
            last = session.finish(stop)
            best = session.shelf.offer(last)
            _keep_the_last(task, last, best)
            _draw_losses(metrics, last.record["losses"], work_dir / LOSS_CURVE)
            print_samples(best, task.corpus.splits, n_words=20, seed=task.settings.seed)
    files = sorted(path.name for path in work_dir.iterdir() if not path.name.startswith("."))
    print(f"{work_dir}: {', '.join(files)}")


def _begin(task: Task) -> Moment:
    """Where the run goes on, or its first moment in a folder made empty."""
    work_dir = Path(task.config.work_dir)
    if task.config.resume:
        start = _continue(task)
    else:
        clear(work_dir)
        start = None
    start = start or Moment(0, task.fresh(), Best())
    write_atomically(work_dir / RUN, as_json(task.record))
    print(describe_corpus(task.corpus, task.vocab, task.data))
    print(describe(task.model), flush=True)
    return start


def _continue(task: Task) -> Moment | None:
    """The newest whole checkpoint of this very run; None: begin at its first step."""
    work_dir = Path(task.config.work_dir)
    checkpoint, damaged = newest_whole(work_dir)
    for path, wrong in damaged.items():
        aside = set_aside(path)
        print(f"note: checkpoint {path.name} is damaged ({wrong}): now {aside}", file=sys.stderr)
    if checkpoint is None:
        print(f"{work_dir}: no whole checkpoint, from the first step again")
        return None
    try:
        check_same_run(checkpoint.record, task.record)
    except InputError as error:
        raise InputError(f"{checkpoint.path} is of another run: {error}") from error
    best = Best.of(checkpoint.record)
    if checkpoint.step > task.settings.max_steps:
        raise InputError(
            f"--max-steps {task.settings.max_steps}: the run has {checkpoint.step} behind it"
        )
    state = restore(checkpoint, task.template())
    print(f"{work_dir}: resumed after step {checkpoint.step:,}")
    return Moment(checkpoint.step, state, best)


def _keep_the_last(task: Task, last: SavedModel, best: SavedModel) -> None:
    """Save the last model beside the best, where a run may have more than one."""
    folder = Path(task.config.work_dir) / LAST
    if best is last and not task.config.eval_every:
        shutil.rmtree(folder, ignore_errors=True)
        return
    folder.mkdir(exist_ok=True)
    save_model(folder, last)
    if best is not last:
        split = held_out(last.record["losses"])
        old, new = (model.record["losses"][split] for model in (best, last))
        print(
            f"the model of step {best.record['training'].get('step')} is better ({split} {old:.4f} "
            f"against {new:.4f}): it is kept, the last one is in {folder}"
        )


def _draw_losses(metrics: Metrics, results: dict[str, float], path: Path) -> None:
    chunks = metrics.chunks
    steps, ratios = ([chunk[name] for chunk in chunks] for name in ("step", "update_to_data"))
    losses = [chunk.get("loss", math.nan) for chunk in chunks]  # none: all were skipped
    if steps:
        plots.save(plots.loss_curve(steps, losses, ratios, results), path)


@contextmanager
def debugging(*, on: bool) -> Generator[None]:
    """JAX's checks for NaN, for keys that are used twice and for leaked tracers."""
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
