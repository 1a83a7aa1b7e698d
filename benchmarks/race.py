"""Interleaved rounds: contestants run the same task in turn; ratios are within a round."""

import contextlib
import os
import pickle
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Self

import numpy as np


@dataclass
class Result:
    """The measurements of one contestant on one task."""

    first: Any
    """What its first run returned: the losses."""
    import_seconds: float
    """From the start of its process until it was ready for a task."""
    first_seconds: float
    """Preparation, compilation and the first run."""
    seconds: list[float] = field(default_factory=list)
    """Of each round's run."""
    peak_bytes: int = 0

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))

    @property
    def seconds_to_first_step(self) -> float:
        """Return the seconds for import, set-up and compilation, before the steady speed."""
        return self.import_seconds + self.first_seconds - self.median


class Worker:
    """A contestant in its own process; see ``benchmarks.worker``."""

    def __init__(self, module: str) -> None:
        self.module = module
        start = time.perf_counter()
        python = (python_with_torch() if "torch" in module else None) or sys.executable
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.worker", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            self._answer()
        except BaseException:
            self._process.communicate()  # closes the pipes
            raise
        self.import_seconds = time.perf_counter() - start

    def ask(self, *command: Any) -> Any:
        """Send a command and wait for its answer."""
        assert self._process.stdin is not None
        pickle.dump(command, self._process.stdin)
        self._process.stdin.flush()
        return self._answer()

    def kill(self) -> None:
        """End the process: what waits for its answer fails."""
        self._process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        try:
            answer = pickle.load(self._process.stdout)
        except EOFError:
            raise RuntimeError(f"{self.module} ended without an answer") from None
        if isinstance(answer, RuntimeError):  # its traceback stands above
            raise answer
        return answer


@contextlib.contextmanager
def start(contestants: dict[str, str]) -> Iterator[dict[str, Worker]]:
    """Start those contestants {name: module} that can run here, one after the other."""
    with contextlib.ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name, module in contestants.items():
            if "torch" in module and python_with_torch() is None:
                print(f"{name}: left out, for torch is not installed")
            elif module.endswith("_c") and not (sys.platform == "linux" and shutil.which("gcc")):
                print(f"{name}: left out, for it wants Linux and gcc")
            else:
                workers[name] = stack.enter_context(Worker(f"benchmarks.contestants.{module}"))
        yield workers


def python_with_torch() -> str | None:
    """Return the Python that runs PyTorch: this one, else ``$PYTHON_WITH_TORCH``.

    The newest jax runs on Pythons that have no tested build of PyTorch, which needs no jax.
    """
    return sys.executable if find_spec("torch") else os.environ.get("PYTHON_WITH_TORCH")


def race(workers: dict[str, Worker], task: Any, rounds: int) -> dict[str, Result]:
    """Prepare the contestants one after the other, then run them in ``rounds`` shuffled rounds."""
    results: dict[str, Result] = {}
    for name, worker in workers.items():
        seconds, first = worker.ask("prepare", task)
        results[name] = Result(first, worker.import_seconds, seconds)
        worker.ask("run")  # warms caches and allocators
    order = list(workers)
    for turn in range(rounds):
        random.Random(turn).shuffle(order)
        for name in order:
            results[name].seconds.append(workers[name].ask("run"))
    for name, worker in workers.items():
        results[name].peak_bytes = worker.ask("peak")
    return results


def ratio(result: Result, to: Result) -> float:
    """Return the time relative to ``to``: the median over rounds of the ratio within a round."""
    return float(np.median(np.divide(result.seconds, to.seconds)))


def check_losses(
    results: dict[str, Result],
    steps: int = 10,
    tolerance: float = 1e-5,
    mean_tolerance: float | None = None,
) -> None:
    """Refuse to compare contestants whose first losses differ.

    Later losses depend on every gradient and update before them. float32 runs drift apart, so
    the whole run is held to its mean, by default within a hundred times the tolerance.
    """
    if mean_tolerance is None:
        mean_tolerance = 100 * tolerance
    ours = results["jaxmore"].first
    for name, result in results.items():
        theirs = result.first
        np.testing.assert_allclose(theirs[:steps], ours[:steps], rtol=tolerance, err_msg=name)
        np.testing.assert_allclose(
            np.mean(theirs), np.mean(ours), rtol=mean_tolerance, err_msg=name
        )
