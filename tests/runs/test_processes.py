"""Real processes: killed, terminated, and with no network. `make faults` has many more of them."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.harness import Lab, Results, results

pytestmark = pytest.mark.slow

SHORT = ["--max-steps", "16000", "--eval-every", "3200"]
"""A run shorter than those of `make faults`, but still with many saves."""


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab()


@pytest.fixture(scope="module")
def expected(lab: Lab) -> Results:
    out = lab.folder / "undisturbed"
    code, printed, err = lab.run(*lab.train(out, *SHORT))
    assert (code, err) == (0, "")
    return results(out, printed)


def started(lab: Lab, out: Path) -> subprocess.Popen[str]:
    """A run that has begun to save its second checkpoint."""
    process = lab.start(*lab.train(out, *SHORT))
    deadline = time.monotonic() + 120
    while len(list(out.glob("checkpoints/step-*"))) < 1 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    while not (out / "checkpoints" / ".partial").exists() and process.poll() is None:
        time.sleep(0.001)
    return process


def resumed(lab: Lab, out: Path) -> tuple[Results, str]:
    code, printed, err = lab.run("train", "--resume", "-o", out)
    assert (code, err) == (0, "")
    return results(out, printed), printed


def test_killed_in_a_save_and_resumed_is_the_undisturbed_run(lab, expected, tmp_path) -> None:
    process = started(lab, tmp_path / "out")
    process.kill()
    process.communicate()
    assert process.returncode == -9
    found, printed = resumed(lab, tmp_path / "out")
    assert "resumed after step" in printed
    assert found == expected


def test_terminated_says_how_to_go_on_and_goes_on(lab, expected, tmp_path) -> None:
    process = started(lab, tmp_path / "out")
    process.terminate()
    _, err = process.communicate()
    assert process.returncode == 143
    *_, last = err.splitlines()
    assert last.endswith(f"to go on: jaxmore train --resume -o {tmp_path / 'out'}")
    found, printed = resumed(lab, tmp_path / "out")
    steps = last.split("stopped after ")[1].split(" steps")[0]
    assert f"resumed after step {steps}" in printed
    assert found == expected


NO_NETWORK = """
import sys

def audit(event, args):
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto"):
        raise SystemExit(f"{event} {args}")

sys.addaudithook(audit)
from jaxmore.cli import main
words, out = sys.argv[1:]
small = ["--type", "bengio", "--n-embd2", "9", "-b", "5", "--max-steps", "20"]
main(["data", "-i", words])
main(["trace", "ava"])
main(["train", "-i", words, "-o", out, *small])
main(["train", "--resume", "-o", out])
main(["evaluate", "-o", out])
main(["sample", "-o", out])
main(["find-lr", "-i", words, "-o", out])
main(["ngram", "-i", words, "-o", out])
main(["check", "-i", words])
main(["sweep", "-i", words, "-o", f"{out}-sweep", *small])
bigram = ["--type", "bigram", "--max-steps", "20"]
main(["train", "-i", words, "-o", f"{out}-bigram", *bigram])
main(["convert", "--from", f"{out}-bigram", "--to", f"{out}.pt"])
main(["convert", "--from", f"{out}.pt", "--to", f"{out}-back", "-i", words])
main(["exercise", f"{out}-exercise"])
"""


def test_no_command_opens_a_connection(lab: Lab, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_NETWORK, str(lab.words), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        env=lab.environment,
    )
    assert done.returncode == 0, done.stderr
    assert "suggested learning rate" in done.stdout
