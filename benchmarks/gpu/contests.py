"""Training on a GPU: each contestant alone on the card, in its own process, case by case."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from threading import Timer
from typing import Any, NamedTuple

import jax

from benchmarks import ladder, training
from benchmarks.account import product_flops
from benchmarks.contestants.grad_scan import loss_and_grad_of
from benchmarks.data import corpus
from benchmarks.gpu import NO_TIME
from benchmarks.gpu.cards import PEAKS
from benchmarks.ladder import Case
from benchmarks.race import Result, Worker, check_losses, race
from benchmarks.task import Task, make_task

GRAPHS = {"torch.compile, CUDA graphs": "torch_graphs"}
OF_TRAINING = {
    "jaxmore": "jaxmore_scan",
    "jax.grad, same scan": "grad_scan",
    "Python loop of one jitted step": "jitted_step",
    "PyTorch, autograd": "torch_autograd",
} | GRAPHS
OF_TRANSFORMERS = ladder.CONTESTANTS | GRAPHS | ladder.WRITTEN_FOR_GRAD
CUDNN = {"jax.grad, cuDNN attention": "grad_cudnn_scan"}
"""In bfloat16 alone."""

PRODUCTS = {
    "float32": {"JAX_DEFAULT_MATMUL_PRECISION": "highest", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "0"},
    "TF32": {
        "JAX_DEFAULT_MATMUL_PRECISION": "tensorfloat32",
        "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
    },
}
PRODUCTS["bfloat16"] = PRODUCTS["TF32"]
"""The environment in which the products of float32 matrices have this precision."""
TOLERANCE = {"float32": 1e-4, "TF32": 1e-2, "bfloat16": 5e-2}
"""What the first losses of two contestants may differ by, relative to their size."""
TRANSFORMERS = [
    Case(
        "transformer, T 128, 6 layers, 384",
        *("transformer", 32, 20),
        {"block_size": 128, "n_layer": 6, "n_head": 6, "n_embd": 384},
        text=True,
    ),
    Case(
        "transformer, T 1024, 12 layers, 768",
        *("transformer", 8, 5),
        {"block_size": 1024, "n_layer": 12, "n_head": 12, "n_embd": 768},
        text=True,
    ),
]
TINY = Case(
    "transformer, T 16, 1 layer, 16",
    *("transformer", 4, 3),
    {"block_size": 16, "n_layer": 1, "n_head": 2, "n_embd": 16},
    text=True,
)


class Contest(NamedTuple):
    """A task, and who trains on it."""

    name: str
    task: Task
    precision: str
    """One of ``PRODUCTS``."""
    contestants: dict[str, str]


def of_training(tiny: bool) -> Iterator[Contest]:
    """The seeds' network at four batch sizes."""
    X, Y = corpus().windows(3)
    for batch_size, n_steps in ({32: 10} if tiny else training.STEPS).items():
        sizes = {"batch_size": batch_size, "n_steps": n_steps}
        task = make_task("mlp-bn", {}, corpus().vocab.size, X, Y, **sizes)
        yield Contest(f"mlp-bn, batch {batch_size:,}", task, "float32", OF_TRAINING)


def of_transformers(tiny: bool) -> Iterator[Contest]:
    """Transformers in three precisions."""
    for case in [TINY] if tiny else TRANSFORMERS:
        task = ladder.task_of(case)
        for precision in () if tiny else ("TF32", "float32"):
            yield Contest(case.name, task, precision, OF_TRANSFORMERS)
        rounded = replace(task, dtype="bfloat16")
        yield Contest(case.name, rounded, "bfloat16", OF_TRANSFORMERS | CUDNN)


def of_ladder(tiny: bool) -> Iterator[Contest]:
    """The other models at makemore.py's defaults."""
    for case in ladder.CASES[:1] if tiny else ladder.CASES[:9]:
        yield Contest(case.name, ladder.task_of(case), "float32", ladder.contestants_of(case))


@contextmanager
def until(deadline: float, module: str) -> Iterator[Worker]:
    """A contestant in its own process, which is ended when the time is over."""
    with Worker(f"benchmarks.{module}") as worker:
        timer = Timer(deadline - time.monotonic(), worker.kill)
        timer.start()
        try:
            yield worker
        finally:
            timer.cancel()


def hold(
    contests: Callable[[bool], Iterator[Contest]], tiny: bool, deadline: float
) -> Iterator[dict[str, Any]]:
    """Run the contestants of each contest one after the other; yield a row for each.

    A row of one that cannot run, fails or has no time left says so in place of figures.
    """
    device = jax.devices()[0]
    for contest in contests(tiny):
        os.environ.update(PRODUCTS[contest.precision])
        task = contest.task
        x, y = task.X[task.indices[0]], task.Y[task.indices[0]]
        flops = product_flops(jax.make_jaxpr(loss_and_grad_of(task))(task.params, x, y).jaxpr)
        peak = PEAKS.get(device.device_kind, {}).get(contest.precision)
        results: dict[str, Result] = {}
        for name, module in contest.contestants.items():
            row = {"case": contest.name, "precision": contest.precision, "contestant": name}
            if name in CUDNN and device.platform == "cpu":
                yield row | {"note": "not on a CPU"}
                continue
            if time.monotonic() > deadline:
                yield row | {"note": NO_TIME}
                continue
            print(", ".join(row.values()), flush=True)
            try:
                with until(deadline, f"contestants.{module}") as worker:
                    results |= race({name: worker}, task, rounds=2 if tiny else 7)
                both = {"jaxmore": results["jaxmore"], name: results[name]}
                check_losses(both, steps=3, tolerance=TOLERANCE[contest.precision])
            except Exception as error:
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                yield row | {"note": NO_TIME if time.monotonic() > deadline else reason}
                continue
            step = results[name].median / task.n_steps
            yield row | {
                "us_per_step": 1e6 * step,
                "ratio": results[name].median / results["jaxmore"].median,
                "seconds_to_first_step": results[name].seconds_to_first_step,
                "peak_mb": results[name].peak_bytes / 1e6,
                "share_of_peak": peak and flops / step / 1e12 / peak,
            }


def profile_slowest(
    parts: dict[str, dict[str, Any]], tiny: bool, deadline: float
) -> Iterator[dict[str, Any]]:
    """Yield the kernels of jaxmore where it is slowest beside a peer, as ``parts`` say."""
    raced = [row for part in CONTESTS if part in parts for row in parts[part]["rows"]]
    peers = [row for row in raced if "ratio" in row and row["contestant"] != "jaxmore"]
    slowest = min(peers, key=lambda row: row["ratio"])
    case = slowest["case"], slowest["precision"]
    print(", ".join(case), "beside", slowest["contestant"], flush=True)
    every = chain.from_iterable(contests(tiny) for contests in CONTESTS.values())
    contest = next(contest for contest in every if (contest.name, contest.precision) == case)
    os.environ.update(PRODUCTS[contest.precision])
    with until(deadline, "gpu.profile") as worker:
        _, kernels = worker.ask("prepare", contest.task)
    for kernel, ms in kernels:
        row = {"case": ", ".join(case), "beside": slowest["contestant"]}
        yield row | {"kernel": kernel, "ms": ms, "share": ms / sum(ms for _, ms in kernels)}


CONTESTS = {"training": of_training, "transformers": of_transformers, "ladder": of_ladder}
