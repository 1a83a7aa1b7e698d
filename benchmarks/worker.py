"""A contestant's own process: ``python -m benchmarks.worker MODULE``, commands over a pipe.

Alone in its process a contestant keeps its threads, its allocator and its peak memory to itself,
and sleeps in a read while the others run.
"""

import importlib
import os
import pickle
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> None:
    """Serve until the pipe closes; the answer of what fails is its error, which ends it."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # keeps what libraries print out of the answers

    def answer(content: Any) -> None:
        pickle.dump(content, answers)
        answers.flush()

    try:
        serve(sys.argv[1], answer)
    except Exception as error:
        # As text: the parent may lack the error's class.
        answer(RuntimeError(f"{type(error).__name__}: {error}"))
        raise


def serve(module: str, answer: Callable[[Any], None]) -> None:
    """Answer ("prepare", task), ("run",) and ("peak",)."""
    contestant = importlib.import_module(module)
    run: Any = None
    answer("ready")
    while True:
        try:
            command, *arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        start = time.perf_counter()
        if command == "prepare":
            run = contestant.prepare(*arguments)
            result = run()
            answer((time.perf_counter() - start, result))
        elif command == "run":
            run()
            answer(time.perf_counter() - start)
        else:
            answer(_peak_bytes_of_card() or _peak_bytes())


def _peak_bytes_of_card() -> int | None:
    """Return the peak of what this process had on a GPU; nothing if it computed on the CPU."""
    if "torch" in sys.modules:
        return sys.modules["torch"].cuda.max_memory_allocated()
    if "jax" in sys.modules:
        statistics = sys.modules["jax"].local_devices()[0].memory_stats()
        return statistics and statistics["peak_bytes_in_use"]
    return None


def _peak_bytes() -> int:
    """Return the peak memory of this process; on Linux ru_maxrss would count the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text("utf-8").splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main()
