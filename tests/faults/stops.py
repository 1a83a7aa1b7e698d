"""SIGTERM at random moments of training: the exit code, how long it takes, and resumed the same."""

import random
import shutil
import signal
import statistics
import time
from typing import Any

from tests.faults.harness import Lab

TRIALS = 20
PROMISED = 5.0
"""Seconds from the signal to the end of the process."""


def run() -> dict[str, Any]:
    lab = Lab()
    _, expected, seconds = lab.undisturbed()
    chance = random.Random(7)
    counts = {"sigterm": 0, "exit 143": 0, "had finished": 0, "before or after training": 0}
    counts |= {"differing": 0}
    took: list[float] = []
    for i in range(TRIALS):
        out = lab.folder / f"trial-{i}"
        process = lab.start(*lab.train(out))
        lab.wait_for(process, out / "metrics.jsonl")
        time.sleep(chance.uniform(0, seconds / 2))
        began = time.monotonic()
        process.terminate()
        process.communicate()
        took.append(time.monotonic() - began)
        counts["sigterm"] += 1
        counts["exit 143"] += process.returncode == 143
        counts["had finished"] += process.returncode == 0
        counts["before or after training"] += process.returncode == -signal.SIGTERM
        counts["differing"] += not lab.resumed_is(out, expected)
        shutil.rmtree(out, ignore_errors=True)
        print(f"\r{i + 1} trials {counts}, {took[-1]:.2f} s", end="", flush=True)
    shutil.rmtree(lab.folder)
    ended = counts["exit 143"] + counts["had finished"] + counts["before or after training"]
    return counts | {
        "seconds to the end, median and slowest": [
            round(statistics.median(took), 2),
            round(max(took), 2),
        ],
        "crashes": TRIALS - ended,
        "later than promised": sum(seconds > PROMISED for seconds in took),
    }
