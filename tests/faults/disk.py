"""No room on the disk, and no permission to write: one line, and what was there stays whole."""

import shutil
from pathlib import Path
from typing import Any

from jaxmore.runs.checkpoints import latest_checkpoint
from tests.faults.harness import Lab, Results, results

LIMITS = (0, 1, 50, 500, 1_000, 2_000, 4_000, 8_000, 12_000, 16_000, 24_000, 40_000)
"""Bytes that a file may have (RLIMIT_FSIZE): the write fails as on a full disk."""


def run() -> dict[str, Any]:
    lab = Lab()
    half = lab.folder / "half"
    _, expected, _ = lab.undisturbed()
    stopped = lab.start(*lab.train(half))
    while len(list(half.glob("checkpoints/step-*"))) < 2 and stopped.poll() is None:
        pass
    stopped.kill()
    stopped.communicate()
    counts = {"limits": 0, "failed with one line": 0, "went through": 0, "read-only": 0, "lost": 0}
    for limit in LIMITS:
        out = Path(shutil.copytree(half, lab.folder / f"limit-{limit}"))
        code, _, err = lab.run(*lab.train(out, "--resume"), largest_file=limit)
        counts["limits"] += 1
        counts["failed with one line"] += code == 2 and err.count("\n") == 1
        counts["went through"] += code == 0
        counts["lost"] += not _goes_on(lab, out, expected)
    out = Path(shutil.copytree(half, lab.folder / "read-only"))
    folders = [out, *(path for path in out.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o500)
    code, _, err = lab.run(*lab.train(out, "--resume"), powerless=True)
    counts["read-only"] += code == 2 and err.count("\n") == 1
    for folder in folders:
        folder.chmod(0o700)
    counts["lost"] += not _goes_on(lab, out, expected)
    shutil.rmtree(lab.folder)
    return counts


def _goes_on(lab: Lab, out: Path, expected: Results) -> bool:
    if latest_checkpoint(out)[0] is None:
        return False
    code, printed, err = lab.run(*lab.train(out, "--resume"))
    if code or err or results(out, printed) != expected:
        print(f"{out.name}: exit {code}, {err}")
        return False
    return True
