"""What ``jaxmore train`` does, from a file of words to a trained model and new words."""

import shlex
import sys
import time
import traceback
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxmore import plots
from jaxmore.data import IntArray, Vocabulary
from jaxmore.errors import InputError
from jaxmore.files import write_atomically
from jaxmore.layers import Chain, describe
from jaxmore.models import MODELS, model_options
from jaxmore.training.checkpoints import newest_whole, restore, set_aside
from jaxmore.training.config import TrainConfig
from jaxmore.training.corpus import (
    Corpus,
    build_model,
    describe_corpus,
    examples,
    read_corpus,
)
from jaxmore.training.divergence import diverged_at, diverged_line, first_to_turn
from jaxmore.training.evaluation import calibrate, mean_loss
from jaxmore.training.inference import print_samples
from jaxmore.training.loop import State, copy_state, train
from jaxmore.training.memory import check_calibration, check_memory
from jaxmore.training.metrics import Metrics
from jaxmore.training.optimizers import make_optimizer
from jaxmore.training.progress import with_progress
from jaxmore.training.records import provenance, run_record
from jaxmore.training.run_folder import (
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
from jaxmore.training.saved_model import SavedModel, load_model, save_model
from jaxmore.training.saver import Saver
from jaxmore.training.signals import GracefulStop, Stopped


class Task(NamedTuple):
    """A training run, ready to begin; nothing is on disk yet."""

    config: TrainConfig
    corpus: Corpus
    vocab: Vocabulary
    options: dict[str, Any]
    model: Chain
    data: dict[str, tuple[IntArray, IntArray]]
    """X and Y of each split that holds words."""
    optimizer: optax.GradientTransformation
    record: dict[str, Any]
    """What ``run.json`` and every checkpoint hold."""


def run_training(config: TrainConfig) -> None:
    """``jaxmore train``: words in; a trained model, its metrics and new words out."""
    work_dir = Path(config.work_dir)
    refuse_surprise(config)
    theirs = read_record(work_dir) if config.resume else None
    task = _prepare(config)
    if theirs is not None:
        check_same_run(theirs, task.record)
        note_other_versions(theirs, task.record)
    with locked(work_dir):
        refuse_surprise(config)  # again, now that nobody else can begin one
        try:
            with debugging(on=config.debug):
                _train(task)
        except OSError as error:
            raise InputError(f"cannot write to {work_dir}: {error.strerror or error}") from error


def _prepare(config: TrainConfig) -> Task:
    corpus = read_corpus(config.type, config.input_file, unique=config.unique)
    vocab = corpus.vocab
    options = model_options(config.type, **config.sizes, longest_word=corpus.longest_word)
    block_size = config.block_size or corpus.block_size(options)
    model = build_model(
        config.type, vocab.size, options, batch_size=config.batch_size, block_size=block_size
    )
    optimizer = make_optimizer(
        config.optimizer_name,
        config.rate,
        config.decay,
        config.schedule_name,
        config.steps,
        config.on_nan,
    )
    n_ids = [len(word) + 1 for split in corpus.splits for word in split]
    n_examples = sum(n_ids) if MODELS[config.type].reads == "windows" else len(n_ids)
    check_memory(model, optimizer, n_examples, block_size, config.batch_size)
    data = {
        name: examples(config.type, words, vocab, block_size)
        for name, words in corpus.splits._asdict().items()
        if words
    }
    check_calibration(model, data["train"][0])
    record = run_record(config, options, corpus)
    return Task(config, corpus, vocab, options, model, data, optimizer, record)


def _train(task: Task) -> None:
    config, model, optimizer = task.config, task.model, task.optimizer
    work_dir = Path(config.work_dir)
    X, Y = (jnp.array(a) for a in task.data["train"])
    init_key, batch_key = jax.random.split(jax.random.key(config.first_seed))

    def fresh() -> State:
        params = model.init(init_key)
        return State(params, optimizer.init(params))

    if config.resume:
        first_step, state = _continue(task, jax.eval_shape(fresh)) or (0, fresh())
    else:
        clear(work_dir)
        first_step, state = 0, fresh()
    write_atomically(work_dir / RUN, as_json(task.record))
    metrics = Metrics(work_dir / METRICS, first_step)
    if metrics.last_step != first_step:
        print(f"note: {METRICS} has lost lines before step {first_step:,}", file=sys.stderr)
    print(describe_corpus(task.corpus, task.vocab, task.data))
    print(describe(model), flush=True)

    # The state is donated to each chunk. Its copy is what is saved, what is left if the chunk
    # diverges, and where the replay to the step that did begins.
    last = Kept(first_step, copy_state(state))
    how_to_resume = f"to go on: jaxmore train --resume -o {shlex.quote(str(work_dir))}"

    def last_resort() -> str:
        saver.save(*last)
        saver.wait()
        return f"stopped after {last.step:,} steps, {how_to_resume}"

    started = time.perf_counter()
    with (
        closing(metrics),
        Saver(work_dir, task.record, config.save_every, before=metrics.sync) as saver,
        GracefulStop(last_resort) as stop,
    ):

        def stop_if_asked() -> None:
            if stop.number is not None:
                raise Stopped(stop.number, last_resort())

        chunks = train(
            model,
            optimizer,
            state,
            X,
            Y,
            batch_key,
            batch_size=config.batch_size,
            max_steps=config.steps,
            chunk_size=config.chunk_size,
            first_step=first_step,
        )
        for chunk in with_progress(chunks, first_step, config.steps):
            bad_step = diverged_at(chunk, skipping=config.on_nan == "skip")
            if bad_step is not None:
                what = first_to_turn(
                    model,
                    optimizer,
                    last.state,
                    X,
                    Y,
                    batch_key,
                    first_step=last.step,
                    bad_step=bad_step,
                    batch_size=config.batch_size,
                )
                raise InputError(diverged_line(work_dir, bad_step, what))
            metrics.add(chunk)
            last = Kept(chunk.step, copy_state(chunk.state))
            if saver.due:
                saver.save(*last)
            stop_if_asked()
        seconds = time.perf_counter() - started
        if config.steps > first_step:
            saver.save(*last)
        params = last.state.params
        stats = calibrate(model, params, task.data["train"][0])
        results = {
            name: mean_loss(model, params, stats, *split) for name, split in task.data.items()
        }
        stop_if_asked()
        if not np.isfinite(list(results.values())).all():
            raise InputError(f"the trained model has losses {results}: lower --learning-rate")
        saver.wait()
        metrics.finish(config.steps, results)
        print(f"{config.steps - first_step:,} steps in {seconds:.1f} s, compilation included")
        print("loss: " + ", ".join(f"{name} {loss:.4f}" for name, loss in results.items()))
        saved = SavedModel(
            type=config.type,
            options=task.options,
            vocab=task.vocab,
            params=params,
            stats=stats,
            record=provenance(task.config, task.corpus, results),
        )
        saved = save_the_better(work_dir, saved)
    _draw_losses(metrics, results, work_dir / LOSS_CURVE)
    print_samples(saved, task.corpus.splits, n_words=20, seed=config.first_seed)
    files = sorted(path.name for path in work_dir.iterdir() if not path.name.startswith("."))
    print(f"{work_dir}: {', '.join(files)}")


class Kept(NamedTuple):
    """A state that nothing donates, and the steps behind it."""

    step: int
    state: State


def _continue(task: Task, template: State) -> tuple[int, State] | None:
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
    if checkpoint.step > task.config.steps:
        raise InputError(
            f"--max-steps {task.config.steps}: the run has {checkpoint.step} behind it"
        )
    state = restore(checkpoint, template)
    print(f"{work_dir}: resumed after step {checkpoint.step:,}")
    return checkpoint.step, state


def save_the_better(work_dir: Path, saved: SavedModel) -> SavedModel:
    """Save a model unless the folder holds one of lower dev loss; return what it then holds."""
    try:
        there = load_model(work_dir)
    except InputError:
        there = None  # none, or none that can be read
    if there is not None:
        # makemore.py has no dev words: its types are chosen by test, as it does.
        split = "dev" if "dev" in saved.record["losses"] else "test"
        old, new = (model.record["losses"].get(split, np.inf) for model in (there, saved))
        if old < new:
            print(
                f"the model of before is better ({split} {old:.4f} against {new:.4f}): it is kept"
            )
            return there
    save_model(work_dir, saved)
    return saved


def _draw_losses(metrics: Metrics, results: dict[str, float], path: Path) -> None:
    steps, losses, ratios = (
        [chunk[name] for chunk in metrics.chunks] for name in ("step", "loss", "update_to_data")
    )
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
