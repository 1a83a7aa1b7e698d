"""Commands with a time limit: the tests of the gradients on the card, and sweeps of many runs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.gpu import NO_TIME, ROOT

TESTS = ("tests/test_backprop.py", "tests/rules", "tests/layers", "tests/models")
HIGHEST = {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}
"""float32 products in float32, not in TF32."""
N_RUNS = (1024, 1, 16, 256)
"""Of the sweeps; those most wanted first, for time may not suffice."""


def gradients(tiny: bool, deadline: float) -> Iterator[dict[str, Any]]:
    """Yield the verdict on the 26 cotangents, then those of the tests of `make test`."""
    yield run_command(["jaxmore", "check"], deadline)
    options = f"-q --tb=line -n {0 if tiny else 4} -W default -p no:cacheprovider".split()
    for tests in TESTS[:1] if tiny else TESTS:
        yield run_command(["pytest", tests, *options, "-m", "not slow"], deadline)


def sweep(tiny: bool, deadline: float) -> Iterator[dict[str, Any]]:
    """Yield the seconds of whole sweeps, compilation and evaluation included."""
    for n_runs in (2, 1) if tiny else N_RUNS:
        n_steps = 20 if tiny else 20_000
        with TemporaryDirectory() as folder:
            flags = ["--seed", f"0:{n_runs}", "--max-steps", f"{n_steps}", "-o", folder]
            row = run_command(["jaxmore", "sweep", *flags, "--overwrite"], deadline)
        if "seconds" in row:
            row["seconds_a_run"] = row["seconds"] / n_runs
        yield row | {"runs": n_runs, "steps": n_steps}


def run_command(command: list[str], deadline: float) -> dict[str, Any]:
    """Run a module of Python; return its time if it passes, else a note and its output."""
    print("python -m", *command, flush=True)
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=os.environ | HIGHEST,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # so that pytest's workers end with it
    )
    try:
        stdout, stderr = process.communicate(timeout=max(deadline - start, 0.1))
        note = "failed" if process.returncode else None
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        stdout, stderr = process.communicate()  # what it has written so far
        note = NO_TIME
    last_line = (stdout.strip() or stderr.strip()).rpartition("\n")[2]
    row = {"command": " ".join(command[:2]), "last_line": last_line}
    if note:
        return row | {"note": note, "output": (stdout + stderr)[-2000:]}
    return row | {"seconds": time.monotonic() - start}
