"""Kill -9 at random moments, resume, and compare with the undisturbed run."""

import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.faults.harness import Lab

KILLS, AIMED = 60, 40


def run() -> dict[str, Any]:
    lab = Lab()
    _, expected, seconds = lab.undisturbed()
    chance = random.Random(6)
    counts = {"kills": 0, "in a save": 0, "differing": 0}
    aimed = [False] * KILLS + [True] * AIMED
    chance.shuffle(aimed)
    for i, in_a_save in enumerate(aimed):
        out = lab.folder / f"trial-{i}"
        process = lab.start(*lab.train(out))
        if in_a_save:
            _wait_for_save(lab, process, out, chance)
        else:
            time.sleep(chance.uniform(0, seconds))
        process.kill()
        process.communicate()
        counts["kills"] += 1
        counts["in a save"] += (out / "checkpoints" / ".partial").exists()
        counts["differing"] += not lab.resumed_is(out, expected)
        shutil.rmtree(out, ignore_errors=True)
        print(f"\r{i + 1} trials {counts}", end="", flush=True)
    shutil.rmtree(lab.folder)
    return counts


def _wait_for_save(
    lab: Lab, process: subprocess.Popen[str], out: Path, chance: random.Random
) -> None:
    # The n-th save of the run, so that there are checkpoints before it, and some way into it.
    for _ in range(chance.randrange(1, 8)):
        lab.wait_for(process, out / "checkpoints" / ".partial")
        moment = time.monotonic() + chance.uniform(0, 0.03)
        while process.poll() is None and time.monotonic() < moment:
            time.sleep(0.0005)
