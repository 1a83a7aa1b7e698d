"""SIGTERM at random moments of training, until 20 have stopped it: exit code, time, resumed."""

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
    counts |= {"crashes": 0, "differing": 0}
    took: list[float] = []
    while len(took) < TRIALS:
        out = lab.folder / f"trial-{counts['sigterm']}"
        process = lab.start(*lab.train(out))
        lab.wait_for(process, out / "metrics.jsonl")
        time.sleep(chance.uniform(0, seconds / 2))
        began = time.monotonic()
        process.terminate()
        process.communicate()
        seconds_to_end = time.monotonic() - began
        lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        is_training = lines and "update_to_data" in lines[-1]
        counts["sigterm"] += 1
        match process.returncode:
            case 143:
                counts["exit 143"] += 1
                took.append(seconds_to_end)
            case 0:
                counts["had finished"] += 1
            case returncode if returncode == -signal.SIGTERM and not is_training:
                counts["before or after training"] += 1
            case _:
                counts["crashes"] += 1
        counts["differing"] += not lab.resumed_is(out, expected)
        shutil.rmtree(out, ignore_errors=True)
        print(f"\r{counts}, {seconds_to_end:.2f} s", end="", flush=True)
        if counts["crashes"] > TRIALS:
            break
    shutil.rmtree(lab.folder)
    return counts | {
        "seconds to the end, median and slowest": [
            round(statistics.median(took), 2) if took else None,
            round(max(took), 2) if took else None,
        ],
        "later than promised": sum(seconds > PROMISED for seconds in took),
    }
