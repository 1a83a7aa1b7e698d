"""A contestant that profiles jaxmore: instead of losses it returns where the time of a run goes."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import jax

from benchmarks.contestants import jaxmore_scan
from benchmarks.task import Task


def prepare(task: Task) -> Callable[[], list[tuple[str, float]]]:
    train = jaxmore_scan.prepare(task)
    # The streams of a GPU; on a CPU the threads that run what XLA compiled.
    place = "Stream" if jax.default_backend() == "gpu" else "XLA"

    def run() -> list[tuple[str, float]]:
        """Return the twelve kernels that take the longest, each with its milliseconds."""
        train()  # compiles
        with TemporaryDirectory() as folder:
            with jax.profiler.trace(folder):
                train()
            (file,) = Path(folder).rglob("*.xplane.pb")
            profile = jax.profiler.ProfileData.from_file(str(file))
        spent = Counter[str]()
        for plane in profile.planes:
            for line in plane.lines:
                if place in line.name:
                    for event in line.events:
                        spent[event.name] += event.duration_ns
        if not spent:
            raise RuntimeError(f"the profiler saw no kernel: no line of its trace is a {place}")
        return [(name, nanoseconds / 1e6) for name, nanoseconds in spent.most_common(12)]

    return run
