"""Training on a GPU: each contestant alone on the card, in its own process, case by case."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
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
"""In bfloat16 on a GPU alone."""

# Not `tensorfloat32`: that is Precision.HIGH, for which XLA's Triton kernels use no TF32.
TF32 = {"JAX_DEFAULT_MATMUL_PRECISION": "default", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1"}
PRODUCTS = {
    "float32": {"JAX_DEFAULT_MATMUL_PRECISION": "highest", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "0"},
    "TF32": TF32,
    "bfloat16": TF32,
}
"""The environment in which the products of float32 matrices have this precision."""
TOLERANCE = {"float32": 1e-4, "TF32": 1e-2, "bfloat16": 5e-2}
"""What the first losses of two contestants may differ by, relative to their size."""
MEAN_TOLERANCE = TOLERANCE | {"float32": 1e-2}
"""The same for the mean of all losses: float32 runs drift apart."""
TRANSFORMERS = [
    (
        Case(
            name="transformer, T 1024, 12 layers, 768",
            type="transformer",
            batch_size=8,
            n_steps=5,
            options={"block_size": 1024, "n_layer": 12, "n_head": 12, "n_embd": 768},
            text=True,
        ),
        ("bfloat16", "TF32", "float32"),
    ),
    (
        next(case for case in ladder.CASES if "T 128" in case.name)._replace(n_steps=20),
        ("bfloat16", "TF32"),
    ),
]
"""Those most wanted first, for time may not suffice."""
TINY = Case(
    name="transformer, T 16, 1 layer, 16",
    type="transformer",
    batch_size=4,
    n_steps=3,
    options={"block_size": 16, "n_layer": 1, "n_head": 2, "n_embd": 16},
    text=True,
)


class Contest(NamedTuple):
    """Who trains on which tasks: each contestant on all of them, in one process."""

    tasks: dict[str, Task]
    """By the name of the case."""
    precision: str
    """One of ``PRODUCTS``."""
    contestants: dict[str, str]
    """jaxmore is the first."""


def of_training(tiny: bool) -> Iterator[Contest]:
    """The seeds' network at four batch sizes."""
    X, Y = corpus().windows(3)
    tasks: dict[str, Task] = {}
    for batch_size, n_steps in ({32: 10} if tiny else training.STEPS).items():
        sizes = {"batch_size": batch_size, "n_steps": n_steps}
        task = make_task("mlp-bn", {}, corpus().vocab.size, X, Y, **sizes)
        tasks[f"mlp-bn, batch {batch_size:,}"] = task
    yield Contest(tasks, "float32", OF_TRAINING)


def of_transformers(tiny: bool) -> Iterator[Contest]:
    """Transformers in three precisions."""
    cudnn = CUDNN if jax.default_backend() == "gpu" else {}
    for case, precisions in [(TINY, ("bfloat16",))] if tiny else TRANSFORMERS:
        task = ladder.task_of(case)
        rounded = replace(task, dtype="bfloat16")
        for precision in precisions:
            if precision == "bfloat16":
                yield Contest({case.name: rounded}, precision, OF_TRANSFORMERS | cudnn)
            else:
                yield Contest({case.name: task}, precision, OF_TRANSFORMERS)


def of_ladder(tiny: bool) -> Iterator[Contest]:
    """The other models at makemore.py's defaults."""
    cases = [case for case in ladder.CASES if not case.text]
    for case in cases[:1] if tiny else cases:
        yield Contest({case.name: ladder.task_of(case)}, "float32", ladder.contestants_of(case))


@contextmanager
def worker_until(deadline: float, module: str) -> Iterator[Worker]:
    """A contestant in its own process, which is ended when the time is over."""
    with Worker(f"benchmarks.{module}") as worker:
        timer = Timer(deadline - time.monotonic(), worker.kill)
        timer.start()
        try:
            yield worker
        finally:
            timer.cancel()


def run_contests(
    contests_of_part: Callable[[bool], Iterator[Contest]], tiny: bool, deadline: float
) -> Iterator[dict[str, Any]]:
    """Run the contestants of each contest one after the other; yield a row for each case.

    The note of a row says why figures are missing in it.
    """
    device = jax.devices()[0].device_kind
    for contest in contests_of_part(tiny):
        os.environ.update(PRODUCTS[contest.precision])
        peak = PEAKS.get(device, {}).get(contest.precision)
        flops = {case: _flops_of(task) for case, task in contest.tasks.items()}
        ours: dict[str, Result] = {}
        for name in contest.contestants:
            for case, result in _results_of(contest, name, deadline, rounds=2 if tiny else 7):
                row = {"case": case, "precision": contest.precision, "contestant": name}
                if isinstance(result, str):
                    yield row | {"note": result}
                    continue
                if name == "jaxmore":
                    ours[case] = result
                step = result.median / contest.tasks[case].n_steps
                row |= {
                    "us_per_step": 1e6 * step,
                    "seconds_to_first_step": result.seconds_to_first_step,
                    "peak_mb": result.peak_bytes / 1e6,
                }
                if peak:
                    row["share_of_peak"] = flops[case] / step / 1e12 / peak
                yield row | _compare(name, result, ours.get(case), contest.precision)


def _results_of(
    contest: Contest, name: str, deadline: float, rounds: int
) -> Iterator[tuple[str, Result | str]]:
    """Run a contestant on each task; yield the case, and the result or why there is none."""
    worker = None
    with ExitStack() as stack:
        for case, task in contest.tasks.items():
            if time.monotonic() > deadline:
                yield case, NO_TIME
                continue
            print(case, contest.precision, name, sep=", ", flush=True)
            try:
                if worker is None:
                    module = f"contestants.{contest.contestants[name]}"
                    worker = stack.enter_context(worker_until(deadline, module))
                result = race({name: worker}, task, rounds)[name]
            except Exception as error:
                late = time.monotonic() > deadline
                result = NO_TIME if late else f"failed: {_in_a_line(error)}"
                stack.close()
                worker = None  # the error has ended it: the next case gets a new one
            yield case, result


def _compare(name: str, theirs: Result, ours: Result | None, precision: str) -> dict[str, Any]:
    """Return the ratio to jaxmore's time, or the note that says why there is none."""
    if ours is None:
        return {"note": "not compared: jaxmore failed"}
    try:
        check_losses(
            {"jaxmore": ours, name: theirs},
            steps=3,
            tolerance=TOLERANCE[precision],
            mean_tolerance=MEAN_TOLERANCE[precision],
        )
    except AssertionError as error:
        return {"note": f"losses differ: {_in_a_line(error)}"}
    return {"ratio": theirs.median / ours.median}


def _flops_of(task: Task) -> float:
    """Count those of the products of one gradient."""
    x, y = task.X[task.indices[0]], task.Y[task.indices[0]]
    return product_flops(jax.make_jaxpr(loss_and_grad_of(task))(task.params, x, y).jaxpr)


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def profile_slowest(
    parts: dict[str, dict[str, Any]], tiny: bool, deadline: float
) -> Iterator[dict[str, Any]]:
    """Yield the kernels of jaxmore where it is slowest beside a peer, as ``parts`` say."""
    peers = [
        row | {"part": part}
        for part in CONTESTS
        for row in parts.get(part, {"rows": []})["rows"]
        if "ratio" in row and row["contestant"] != "jaxmore"
    ]
    if not peers:
        raise RuntimeError(f"no peer has a ratio in the rows of {', '.join(CONTESTS)}")
    slowest = min(peers, key=lambda row: row["ratio"])
    case, precision = slowest["case"], slowest["precision"]
    print(case, precision, "beside", slowest["contestant"], flush=True)
    contest = next(
        contest
        for contest in CONTESTS[slowest["part"]](tiny)
        if contest.precision == precision and case in contest.tasks
    )
    os.environ.update(PRODUCTS[precision])
    with worker_until(deadline, "gpu.profile") as worker:
        _, kernels = worker.ask("prepare", contest.tasks[case])
    for kernel, ms in kernels:
        row = {"case": f"{case}, {precision}", "beside": slowest["contestant"]}
        yield row | {"kernel": kernel, "ms": ms, "share": ms / sum(ms for _, ms in kernels)}


CONTESTS = {"training": of_training, "transformers": of_transformers, "ladder": of_ladder}
