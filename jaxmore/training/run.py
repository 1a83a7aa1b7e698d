"""What ``jaxmore train``, ``evaluate``, ``sample`` and ``find-lr`` do, from files to files."""

import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from jaxmore import __version__, plots
from jaxmore.backprop import loss_and_grad
from jaxmore.data import (
    IntArray,
    Splits,
    Vocabulary,
    context_windows,
    corpus_path,
    read_words,
    seen_in_train,
    split_words,
    unique_words,
)
from jaxmore.errors import InputError
from jaxmore.layers import Chain, describe
from jaxmore.models import MODELS, model_options, token_by_token
from jaxmore.training.config import TrainConfig
from jaxmore.training.evaluation import calibrate, mean_loss
from jaxmore.training.find_lr import Sweep, find_learning_rate
from jaxmore.training.loop import Chunk, State, train
from jaxmore.training.optimizers import make_optimizer
from jaxmore.training.sampling import sample_words
from jaxmore.training.saved_model import CONFIG, SavedModel, load_model, save_model

METRICS, LOSS_CURVE, LR_CURVE = "metrics.jsonl", "loss.png", "find-lr.png"


class Corpus(NamedTuple):
    """A file of words, read and split."""

    path: Path
    sha256: str
    unique: bool
    splits: Splits


def read_corpus(input_file: str | None, *, unique: bool) -> Corpus:
    """Read and split the words of a run; InputError where they cannot be."""
    path = corpus_path(input_file)
    words = read_words(path)
    splits = split_words(unique_words(words) if unique else words)
    return Corpus(path, hashlib.sha256(path.read_bytes()).hexdigest(), unique, splits)


def run_training(config: TrainConfig) -> None:
    """``jaxmore train``: words in; a trained model, its metrics and new words out."""
    work_dir = Path(config.work_dir)
    if (work_dir / CONFIG).exists() and not config.overwrite:
        raise InputError(
            f"{work_dir} holds a trained model: --overwrite, or another folder with -o"
        )
    corpus = read_corpus(config.input_file, unique=config.unique)
    vocab = Vocabulary.from_words(word for split in corpus.splits for word in split)
    options = model_options(config.type) | config.model_options
    model = MODELS[config.type](vocab.size, **options)
    data = [context_windows(words, vocab, options["block_size"]) for words in corpus.splits]
    X, Y = (jnp.array(a) for a in data[0])
    init_key, batch_key = jax.random.split(jax.random.key(config.seed))
    _check_batch(model, config.batch_size, options["block_size"])
    _make_folder(work_dir)
    _report_corpus(corpus, vocab, data)
    print(describe(model), flush=True)

    optimizer = make_optimizer(
        config.optimizer,
        config.rate,
        config.decay,
        config.schedule,
        config.max_steps,
    )
    params = model.init(init_key)
    state = State(params, optimizer.init(params))
    chunks = train(
        model,
        optimizer,
        state,
        X,
        Y,
        batch_key,
        batch_size=config.batch_size,
        max_steps=config.max_steps,
        chunk_size=config.chunk_size,
    )
    started = time.perf_counter()
    steps: list[int] = []
    losses: list[float] = []
    ratios: list[dict[str, float]] = []
    with open(work_dir / METRICS, "w", encoding="utf-8") as metrics:
        for chunk in _with_progress(chunks, config.max_steps):
            loss = _finite_mean(chunk)
            steps.append(chunk.step)
            losses.append(loss)
            ratios.append(chunk.update_to_data)
            finite = {path: r for path, r in chunk.update_to_data.items() if np.isfinite(r)}
            line = {"step": chunk.step, "loss": loss, "update_to_data": finite}
            print(json.dumps(line), file=metrics, flush=True)
            state = chunk.state
        seconds = time.perf_counter() - started
        params = state.params
        stats = calibrate(model, params, X)
        results = {
            name: mean_loss(model, params, stats, *split)
            for name, split in zip(Splits._fields, data, strict=True)
        }
        if not np.isfinite(list(results.values())).all():
            raise InputError(f"the trained model has losses {results}: lower --learning-rate")
        print(json.dumps({"step": config.max_steps, **results}), file=metrics)
    print(f"{config.max_steps:,} steps in {seconds:.1f} s, compilation included")
    print("loss: " + ", ".join(f"{name} {loss:.4f}" for name, loss in results.items()))

    saved = SavedModel(
        type=config.type,
        options=options,
        vocab=vocab,
        params=params,
        stats=stats,
        record={
            "data": {
                "file": str(corpus.path.resolve()),
                "sha256": corpus.sha256,
                "unique": corpus.unique,
                "longest_word": max(len(word) for split in corpus.splits for word in split),
            },
            "training": {
                "max_steps": config.max_steps,
                "batch_size": config.batch_size,
                "optimizer": config.optimizer,
                "learning_rate": config.rate,
                "weight_decay": config.decay,
                "schedule": config.schedule,
                "seed": config.seed,
            },
            "losses": results,
            "versions": _versions(),
        },
    )
    save_model(work_dir, saved)
    plots.save(plots.loss_curve(steps, losses, ratios, results), work_dir / LOSS_CURVE)
    print_samples(saved, corpus.splits, n_words=20, seed=config.seed)
    files = sorted(path.name for path in work_dir.iterdir() if not path.name.startswith("."))
    print(f"{work_dir}: {', '.join(files)}")


def run_evaluation(work_dir: str, input_file: str | None) -> None:
    """``jaxmore evaluate``: the exact loss of a saved model on the splits of a file of words."""
    saved = load_model(Path(work_dir))
    corpus = _corpus_of(saved, input_file)
    for name, words in corpus.splits._asdict().items():
        X, Y = context_windows(words, saved.vocab, saved.options["block_size"])
        loss = mean_loss(saved.model, saved.params, saved.stats, X, Y)
        print(f"{name:5s} {loss:.4f}  ({len(Y):,} characters)")


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
    corpus = read_corpus(input_file, unique=False)
    vocab = Vocabulary.from_words(word for split in corpus.splits for word in split)
    options = model_options(type)
    model = MODELS[type](vocab.size, **options)
    _check_batch(model, batch_size, options["block_size"])
    X, Y = context_windows(corpus.splits.train, vocab, options["block_size"])
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
    model, params, stats = token_by_token(
        saved.model, saved.params, saved.stats, saved.options["block_size"]
    )
    words = sample_words(
        model,
        params,
        stats,
        saved.vocab,
        n_words=n_words,
        max_length=2 * saved.record["data"]["longest_word"],
        seed=seed,
        **how,
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
    corpus = read_corpus(input_file or data["file"], unique=data["unique"])
    if corpus.sha256 != data["sha256"]:
        print(f"note: {corpus.path} is not the file that the model was trained on", file=sys.stderr)
    return corpus


def _check_batch(model: Chain, batch_size: int, block_size: int) -> None:
    # Shapes only: a batch of one under BatchNorm is refused before anything is computed.
    x = jax.ShapeDtypeStruct((batch_size, block_size), jnp.int32)
    y = jax.ShapeDtypeStruct((batch_size,), jnp.int32)
    params = jax.eval_shape(model.init, jax.random.key(0))
    try:
        jax.eval_shape(lambda p, x, y: loss_and_grad(model, p, x, y), params, x, y)
    except ValueError as error:
        raise InputError(f"--batch-size {batch_size}: {error}") from error


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {path}: {error.strerror}") from error


def _report_corpus(
    corpus: Corpus, vocab: Vocabulary, data: list[tuple[IntArray, IntArray]]
) -> None:
    splits = corpus.splits
    words = " / ".join(f"{len(split):,}" for split in splits)
    windows = " / ".join(f"{len(Y):,}" for _, Y in data)
    in_dev, in_test = seen_in_train(splits)
    print(f"{corpus.path}: {sum(map(len, splits)):,} words, {len(vocab.characters)} characters")
    print(f"train / dev / test: {words} words, {windows} characters to predict")
    print(f"also in train: {in_dev:,} of the dev words, {in_test:,} of the test words")


def _finite_mean(chunk: Chunk) -> float:
    bad = np.flatnonzero(~np.isfinite(chunk.losses))
    if bad.size:
        step = chunk.step - len(chunk.losses) + int(bad[0])
        raise InputError(
            f"the loss is {chunk.losses[bad[0]]} at step {step:,}: lower --learning-rate"
        )
    return float(chunk.losses.mean())


def _with_progress(chunks: Iterable[Chunk], max_steps: int) -> Iterator[Chunk]:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} steps"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.4f}  {task.fields[rate]:,.0f} steps/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("training", total=max_steps, loss=float("nan"), rate=0.0)
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
