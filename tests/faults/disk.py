"""No room on the disk, and no permission to write: one line, and what was there stays whole."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from jaxmore.training.checkpoints import newest_whole
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
    if _make_read_only(out):
        code, _, err = lab.run(*lab.train(out, "--resume"))
        subprocess.run(["umount", out], check=False)
        counts["read-only"] += code == 2 and err.count("\n") == 1
        counts["lost"] += not _goes_on(lab, out, expected)
    shutil.rmtree(lab.folder)
    return counts


def _goes_on(lab: Lab, out: Path, expected: Results) -> bool:
    if newest_whole(out)[0] is None:
        return False
    code, printed, err = lab.run(*lab.train(out, "--resume"))
    if code or err or results(out, printed) != expected:
        print(f"{out.name}: exit {code}, {err}")
        return False
    return True


def _make_read_only(out: Path) -> bool:
    # Permissions do not stop root, a mount does.
    if os.geteuid() != 0:
        return False
    bind = subprocess.run(["mount", "--bind", out, out], check=False, capture_output=True)
    remount = ["mount", "-o", "remount,ro,bind", out]
    return (
        bind.returncode == 0
        and subprocess.run(remount, check=False, capture_output=True).returncode == 0
    )
