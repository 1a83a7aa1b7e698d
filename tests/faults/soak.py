"""Ten minutes of training that saves every second, and samples beside it: nothing may grow."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults.harness import Lab

MINUTES = float(os.environ.get("SOAK_MINUTES", "10"))
WARM_UP = min(60.0, 12 * MINUTES)
"""Seconds that are left out: imports, compilation, the allocator's first pools."""
FLAT = 0.3
"""MB a minute."""


def run() -> dict[str, Any]:
    lab = Lab()
    out = lab.folder / "out"
    model = lab.folder / "model"
    lab.run(*lab.train(model, "--max-steps", 500))
    process = lab.start(*lab.train(out, "--save-every", 1, "--max-steps", 10**9))
    times: list[float] = []
    memory: list[int] = []
    handles: list[int] = []
    samples = failed = 0
    started = time.monotonic()
    while time.monotonic() - started < 60 * MINUTES:
        time.sleep(5)
        status = Path(f"/proc/{process.pid}/statm").read_text(encoding="utf-8").split()
        times.append(time.monotonic() - started)
        memory.append(int(status[1]) * os.sysconf("SC_PAGE_SIZE"))
        handles.append(len(list(Path(f"/proc/{process.pid}/fd").iterdir())))
        if len(times) % 6 == 0:
            samples += 1
            failed += lab.run("sample", "-o", model)[0] != 0
    process.terminate()
    process.communicate()
    begin = int(np.searchsorted(times, WARM_UP))
    megabytes, minutes = np.array(memory[begin:]) / 1e6, np.array(times[begin:]) / 60
    (slope, _), covariance = np.polyfit(minutes, megabytes, 1, cov=True)
    error = float(covariance[0, 0] ** 0.5)
    # Of a minute the least: in the midst of a save there are more.
    first, last = min(handles[begin : begin + 12]), min(handles[-12:])
    shutil.rmtree(lab.folder)
    return {
        "minutes": MINUTES,
        "MB at the end": round(memory[-1] / 1e6),
        "MB per minute, and its standard error": [round(float(slope), 2), round(error, 2)],
        "file handles, first and last minute": [first, last],
        "samples beside it": samples,
        "crashes": failed + (process.returncode != 143),
        "grown": int(slope - 2 * error > FLAT or last > first),
    }
