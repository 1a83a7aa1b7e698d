"""Several devices: what eight_devices*.py test, in a process with eight simulated ones."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EIGHT_DEVICES = sorted(Path(__file__).parent.glob("eight_devices*.py"))


def test_on_eight_devices(request: pytest.FixtureRequest) -> None:
    which = "not slow" if request.config.option.markexpr == "not slow" else ""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *map(str, EIGHT_DEVICES), "-p", "no:xdist", "-m", which],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
