"""Commands with a time limit: the tests of the gradients on the card, and sweeps of many runs."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.gpu import NO_TIME

ROOT = Path(__file__).resolve().parents[2]
TESTS = ("tests/test_backprop.py", "tests/rules", "tests/layers", "tests/models")
HIGHEST = {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}
"""float32 products in float32, not in TF32."""


def gradients(tiny: bool, deadline: float) -> Iterator[dict[str, Any]]:
    """Yield the verdict on the 26 cotangents, then those of the tests of `make test`."""
    yield _run(["jaxmore", "check"], deadline)
    options = f"-q --tb=line -n {0 if tiny else 4} -W default -p no:cacheprovider".split()
    for tests in TESTS[:1] if tiny else TESTS:
        yield _run(["pytest", tests, *options, "-m", "not slow"], deadline)


def sweep(tiny: bool, deadline: float) -> Iterator[dict[str, Any]]:
    """Yield the seconds of whole sweeps, compilation and evaluation included."""
    for n_runs in (1, 2) if tiny else (1, 16, 256, 1024):
        n_steps = 20 if tiny else 20_000
        with TemporaryDirectory() as folder:
            flags = ["--seed", f"0:{n_runs}", "--max-steps", f"{n_steps}", "-o", folder]
            row = _run(["jaxmore", "sweep", *flags, "--overwrite"], deadline)
        yield row | {"runs": n_runs, "steps": n_steps, "seconds_a_run": row["seconds"] / n_runs}


def _run(command: list[str], deadline: float) -> dict[str, Any]:
    """Run a module of Python; return its time, and whether and how it ended."""
    print("python -m", *command, flush=True)
    start = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=os.environ | HIGHEST,
            capture_output=True,
            text=True,
            timeout=max(deadline - start, 0.1),
        )
        note = (
            "passed" if done.returncode == 0 else f"failed: {(done.stdout + done.stderr)[-2000:]}"
        )
        last = done.stdout.strip().rpartition("\n")[2]
    except subprocess.TimeoutExpired:
        note, last = NO_TIME, ""
    return {
        "command": " ".join(command[:2]),
        "note": note,
        "last_line": last,
        "seconds": time.monotonic() - start,
    }
