"""Start-up times of processes, measured from outside, with and without JAX's persistent cache."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def run(quick: bool) -> list[dict[str, Any]]:
    """Return medians over several processes; each cold one has an empty cache folder of its own."""
    repeats = 3 if quick else 5
    rows: list[dict[str, Any]] = []

    def add(what: str, seconds: Sequence[float]) -> None:
        median = float(np.median(seconds))
        rows.append({"what": what, "seconds": median, "rounds_seconds": seconds})

    add("jaxmore --help", [_seconds("-m", "jaxmore", "--help") for _ in range(repeats)])
    add("import jax", [_seconds("-c", "import jax") for _ in range(repeats)])
    cold, warm, train_cold, train_warm = ([] for _ in range(4))
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            cache = Path(folder) / "cache"
            first_step = ("-m", "benchmarks.first_step")
            cold.append(_seconds(*first_step, cache=cache))
            warm.append(_seconds(*first_step, cache=cache))
            train = ("-m", "jaxmore", "train", "--max-steps", "1000", "--overwrite", "-o", folder)
            train_cold.append(_seconds(*train, cache=cache / "train"))
            train_warm.append(_seconds(*train, cache=cache / "train"))
    add("first step, cold", cold)
    add("first step, compilation cached", warm)
    add("jaxmore train --max-steps 1000, cold", train_cold)
    add("jaxmore train --max-steps 1000, compilation cached", train_warm)
    return rows


def _seconds(*arguments: str, cache: Path | None = None) -> float:
    environment = os.environ | ({} if cache is None else {"XDG_CACHE_HOME": str(cache)})
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments], check=True, env=environment, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - start
