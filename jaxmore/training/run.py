"""What ``jaxmore train``, ``evaluate``, ``sample`` and ``find-lr`` do, from files to files."""

import os
import platform
import shlex
import sys
import time
import traceback
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from jaxmore import __version__, plots
from jaxmore.backprop import loss_and_grad
from jaxmore.data import IntArray, Splits, Vocabulary
from jaxmore.errors import InputError
from jaxmore.files import write_atomically
from jaxmore.layers import Chain, describe
from jaxmore.models import MODELS, model_options, token_by_token
from jaxmore.training.checkpoints import newest_whole, restore, set_aside
from jaxmore.training.config import TrainConfig
from jaxmore.training.corpus import (
    Corpus,
    batch_shapes,
    describe_corpus,
    examples,
    read_corpus,
)
from jaxmore.training.divergence import diverged_at, diverged_line, first_to_turn
from jaxmore.training.evaluation import calibrate, mean_loss
from jaxmore.training.find_lr import Sweep, find_learning_rate
from jaxmore.training.loop import Chunk, State, copy_state, train
from jaxmore.training.memory import check_memory
from jaxmore.training.metrics import Metrics
from jaxmore.training.optimizers import make_optimizer
from jaxmore.training.run_folder import FORMAT as RUN_FORMAT
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
from jaxmore.training.sampling import sample_words
from jaxmore.training.saved_model import SavedModel, load_model, save_model
from jaxmore.training.saver import Saver
from jaxmore.training.signals import GracefulStop, Stopped

LR_CURVE = "find-lr.png"
LONGEST_SAMPLE = 2_000
"""Where a sampled word is cut, however long the longest word of the file is."""


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
    block_size = config.block_size or options.get("block_size", corpus.longest_word + 1)
    model = MODELS[config.type].make(vocab.size, **options)
    optimizer = make_optimizer(
        config.optimizer_name,
        config.rate,
        config.decay,
        config.schedule_name,
        config.steps,
        config.on_nan,
    )
    _check_batch(config.type, model, config.batch_size, block_size)
    n_ids = [len(word) + 1 for split in corpus.splits for word in split]
    n_examples = sum(n_ids) if MODELS[config.type].reads == "windows" else len(n_ids)
    check_memory(model, optimizer, n_examples, block_size, config.batch_size)
    data = {
        name: examples(config.type, words, vocab, block_size)
        for name, words in corpus.splits._asdict().items()
        if words
    }
    record = _record(config, options, corpus, vocab)
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
    last = Whole(first_step, copy_state(state))
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
        for chunk in _with_progress(chunks, first_step, config.steps):
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
            last = Whole(chunk.step, copy_state(chunk.state))
            if saver.due:
                saver.save(*last)
            stop_if_asked()
        seconds = time.perf_counter() - started
        if config.steps > first_step:
            saver.save(*last)
        params = last.state.params
        stats = calibrate(model, params, X)
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
            record=_provenance(task, results),
        )
        saved = save_the_better(work_dir, saved)
    _draw_losses(metrics, results, work_dir / LOSS_CURVE)
    print_samples(saved, task.corpus.splits, n_words=20, seed=config.first_seed)
    files = sorted(path.name for path in work_dir.iterdir() if not path.name.startswith("."))
    print(f"{work_dir}: {', '.join(files)}")


class Whole(NamedTuple):
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


def _record(
    config: TrainConfig, options: dict[str, Any], corpus: Corpus, vocab: Vocabulary
) -> dict[str, Any]:
    file = str(corpus.path.resolve())
    flags = asdict(config)
    # The values that were used in the place of "the default", whatever that is tomorrow.
    settled = {
        "input_file": file,
        "max_steps": config.steps,
        "optimizer": config.optimizer_name,
        "learning_rate": config.rate,
        "weight_decay": config.decay,
        "schedule": config.schedule_name,
        "seed": config.first_seed,
    }
    settled |= {name: value for name, value in options.items() if name in flags}
    return {
        "format": RUN_FORMAT,
        "flags": flags | settled,
        "data": {"file": file, "sha256": corpus.sha256},
        "vocabulary": vocab.characters,
        "versions": _versions(),
    }


def _provenance(task: Task, results: dict[str, float]) -> dict[str, Any]:
    config, corpus = task.config, task.corpus
    return {
        "data": {
            "file": str(corpus.path.resolve()),
            "sha256": corpus.sha256,
            "unique": corpus.unique,
            "longest_word": corpus.longest_word,
        },
        "training": {
            "max_steps": config.steps,
            "batch_size": config.batch_size,
            "optimizer": config.optimizer_name,
            "learning_rate": config.rate,
            "weight_decay": config.decay,
            "schedule": config.schedule_name,
            "seed": config.first_seed,
        },
        "losses": results,
        "versions": _versions(),
    }


def _draw_losses(metrics: Metrics, results: dict[str, float], path: Path) -> None:
    chunks = metrics.chunks
    names = dict.fromkeys(name for chunk in chunks for name in chunk["update_to_data"])
    ratios = [{name: c["update_to_data"].get(name, np.nan) for name in names} for c in chunks]
    steps, losses = [c["step"] for c in chunks], [c["loss"] for c in chunks]
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


def run_evaluation(work_dir: str, input_file: str | None) -> None:
    """``jaxmore evaluate``: the exact loss of a saved model on the splits of a file of words."""
    saved = load_model(Path(work_dir))
    corpus = _corpus_of(saved, input_file)
    block_size = saved.options.get("block_size", corpus.longest_word + 1)
    for name, words in corpus.splits._asdict().items():
        if words:
            X, Y = examples(saved.type, words, saved.vocab, block_size)
            loss = mean_loss(saved.model, saved.params, saved.stats, X, Y)
            print(f"{name:5s} {loss:.4f}  ({int((Y != -1).sum()):,} characters)")


def run_sampling(
    work_dir: str,
    input_file: str | None,
    *,
    n_words: int,
    seed: int,
    temperature: float,
    top_k: int | None,
    prompt: str,
) -> None:
    """``jaxmore sample``: more words of a saved model, each marked by where it stands."""
    saved = load_model(Path(work_dir))
    try:
        splits = _corpus_of(saved, input_file).splits
    except InputError:
        if input_file is not None:
            raise
        splits = None  # the words that it was trained on are gone: no marks
    print_samples(
        saved,
        splits,
        n_words=n_words,
        seed=seed,
        temperature=temperature,
        top_k=top_k,
        prompt=prompt,
    )


def run_find_lr(
    input_file: str | None, work_dir: str, *, type: str, batch_size: int, seed: int
) -> None:
    """``jaxmore find-lr``: seed 002's sweep, a figure and the rate that it suggests."""
    corpus = read_corpus(type, input_file, unique=False)
    options = model_options(type, longest_word=corpus.longest_word)
    block_size = options.get("block_size", corpus.longest_word + 1)
    model = MODELS[type].make(corpus.vocab.size, **options)
    _check_batch(type, model, batch_size, block_size)
    X, Y = examples(type, corpus.splits.train, corpus.vocab, block_size)
    sweep: Sweep = find_learning_rate(
        model, jnp.array(X), jnp.array(Y), seed=seed, batch_size=batch_size
    )
    _make_folder(Path(work_dir))
    figure = Path(work_dir) / LR_CURVE
    plots.save(
        plots.learning_rate_curve(sweep.rates, sweep.losses, sweep.smoothed, sweep.suggested),
        figure,
    )
    print(f"suggested learning rate: {sweep.suggested:.2g}  ({figure})")


def print_samples(
    saved: SavedModel, splits: Splits | None, *, n_words: int, seed: int, **how: Any
) -> None:
    """Print sampled words, each marked "in train", "in dev/test" or "new"."""
    longest = saved.record["data"]["longest_word"]
    if MODELS[saved.type].reads == "windows":
        by_token = token_by_token(
            saved.model, saved.params, saved.stats, saved.options["block_size"]
        )
        max_length = 2 * longest
    else:
        by_token = saved.model, saved.params, saved.stats
        max_length = saved.options.get("block_size", 2 * longest)
    words = sample_words(
        *by_token, saved.vocab, n_words=n_words, max_length=max_length, seed=seed, **how
    )
    if splits is None:
        print("\n".join(words))
        return
    train, held_out = set(splits.train), {*splits.dev, *splits.test}
    for word in words:
        bucket = "in train" if word in train else "in dev/test" if word in held_out else "new"
        print(f"{word:20s} {bucket}")


def _corpus_of(saved: SavedModel, input_file: str | None) -> Corpus:
    data = saved.record["data"]
    corpus = read_corpus(saved.type, input_file or data["file"], unique=data["unique"])
    if corpus.sha256 != data["sha256"]:
        print(f"note: {corpus.path} is not the file that the model was trained on", file=sys.stderr)
    return corpus


def _check_batch(type: str, model: Chain, batch_size: int, block_size: int) -> None:
    # Shapes only: a batch of one under BatchNorm is refused before anything is computed.
    params = jax.eval_shape(model.init, jax.random.key(0))
    try:
        jax.eval_shape(
            partial(loss_and_grad, model), params, *batch_shapes(type, batch_size, block_size)
        )
    except ValueError as error:
        raise InputError(f"--batch-size {batch_size}: {error}") from error


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {path}: {error.strerror}") from error


def _with_progress(chunks: Iterable[Chunk], first_step: int, max_steps: int) -> Iterator[Chunk]:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} steps"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.4f}  {task.fields[rate]:,.0f} steps/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(
            "training", total=max_steps, completed=first_step, loss=float("nan"), rate=0.0
        )
        last = time.perf_counter()
        for chunk in chunks:
            now = time.perf_counter()
            rate = len(chunk.losses) / (now - last)
            last = now
            bar.update(task, completed=chunk.step, loss=chunk.losses.mean(), rate=rate)
            yield chunk


def _versions() -> dict[str, Any]:
    """What the bits of a result depend on besides the seed."""
    return {
        "python": platform.python_version(),
        "jaxmore": __version__,
        **{package: version(package) for package in ("jax", "jaxlib", "numpy", "optax")},
        "device": jax.devices()[0].device_kind,
        "machine": platform.machine(),
        "threads": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
    }
