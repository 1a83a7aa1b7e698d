"""Kill -9 and SIGTERM at random moments, resume, and compare with the undisturbed run."""

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.faults.harness import Lab, Results, results

KILLS, AIMED, TERMINATED = 60, 40, 20


def run() -> dict[str, Any]:
    lab = Lab()
    _, expected, seconds = lab.undisturbed()
    chance = random.Random(6)
    counts = {"kills": 0, "in a save": 0, "sigterm": 0, "sigterm exit 143": 0}
    counts |= {"finished before the signal": 0, "differing": 0}
    slowest = 0.0
    kinds = ["anywhere"] * KILLS + ["in a save"] * AIMED + ["terminate"] * TERMINATED
    chance.shuffle(kinds)
    for i, kind in enumerate(kinds):
        out = lab.folder / f"trial-{i}"
        process = lab.start(*lab.train(out))
        if kind == "anywhere":
            time.sleep(chance.uniform(0, seconds))
            process.kill()
        elif kind == "in a save":
            _wait_for_save(process, out, chance)
            process.kill()
        else:
            _wait_for(process, out / "metrics.jsonl")
            time.sleep(chance.uniform(0, seconds / 2))
            began = time.monotonic()
            process.terminate()
        process.communicate()
        if kind != "terminate":
            counts["kills"] += 1
            counts["in a save"] += (out / "checkpoints" / ".partial").exists()
        else:
            slowest = max(slowest, time.monotonic() - began)
            counts["sigterm"] += 1
            counts["sigterm exit 143"] += process.returncode in (143, -signal.SIGTERM)
            counts["finished before the signal"] += process.returncode == 0
        counts["differing"] += not _resumed_is(lab, out, expected)
        shutil.rmtree(out, ignore_errors=True)
        print(f"\r{i + 1} trials {counts}", end="", flush=True)
    shutil.rmtree(lab.folder)
    return counts | {"slowest stop in seconds": round(slowest, 2)}


def _wait_for(process: subprocess.Popen[str], path: Path) -> None:
    while process.poll() is None and not path.exists():
        time.sleep(0.001)


def _wait_for_save(process: subprocess.Popen[str], out: Path, chance: random.Random) -> None:
    # The n-th save of the run, so that there are checkpoints before it, and some way into it.
    for _ in range(chance.randrange(1, 8)):
        _wait_for(process, out / "checkpoints" / ".partial")
        moment = time.monotonic() + chance.uniform(0, 0.03)
        while process.poll() is None and time.monotonic() < moment:
            time.sleep(0.0005)


def _resumed_is(lab: Lab, out: Path, expected: Results) -> bool:
    resume = ["--resume"] if (out / "run.json").exists() else []
    code, printed, err = lab.run(*lab.train(out, *resume))
    if code != 0 or results(out, printed) != expected:
        print(f"{out.name}: exit {code}, {err}")
        return False
    return True
