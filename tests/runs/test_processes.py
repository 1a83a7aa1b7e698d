"""Two real processes over loopback: the bits of one, and an end in one line when one is gone."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

TRAIN = ["train", "-i", "words.txt", "-o", "run", "-b", "8", "--schedule", "constant"]
SMALL = ["--n-embd", "3", "--n-embd2", "5"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    words = "\n".join(a + b + c for a in "avz" for b in "eio" for c in "lmn")
    (tmp_path / "words.txt").write_text(words)
    return tmp_path


def start(folder: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "jaxmore", *TRAIN, *SMALL, *args],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_all(folder: Path, *args: str, n: int = 2) -> list[subprocess.Popen[str]]:
    flags = ["--mesh", f"data={n}", "--coordinator", f"127.0.0.1:{free_port()}", *args]
    return [
        start(folder, *flags, "--num-processes", str(n), "--process-id", str(i)) for i in range(n)
    ]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def finish(*processes: subprocess.Popen[str]) -> list[str]:
    said = [process.communicate(timeout=600) for process in processes]
    for process, (_, err) in zip(processes, said, strict=True):
        assert process.returncode == 0, err
    return [out for out, _ in said]


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "run" / "model.safetensors").read_bytes()).hexdigest()


def check_resuming(folder: Path, n: int) -> None:
    """Train with n processes, go on with one and with n: the bits of one process throughout."""
    first, *others = finish(*start_all(folder, "--max-steps", "3", n=n))
    assert "loss: train" in first
    assert others == [""] * (n - 1)
    finish(start(folder, "--resume", "--max-steps", "5", "--mesh", "data=1"))
    finish(*start_all(folder, "--resume", "--max-steps", "8", n=n))
    resumed = digest(folder)
    finish(start(folder, "--overwrite", "--max-steps", "8", "--mesh", "data=1"))
    assert resumed == digest(folder)


def test_two_processes_have_the_bits_of_one_and_take_turns_with_it(folder: Path) -> None:
    check_resuming(folder, 2)


@pytest.mark.slow
def test_four_processes_have_the_bits_of_one(folder: Path) -> None:
    check_resuming(folder, 4)


@pytest.mark.slow
@pytest.mark.parametrize("gone", [0, 1])
def test_when_one_is_killed_the_other_ends_with_one_line(folder: Path, gone: int) -> None:
    processes = start_all(folder, "--max-steps", "10000000", "--save-every", "0")
    until = time.monotonic() + 150
    while not list((folder / "run").glob("checkpoints/step-*")) and time.monotonic() < until:
        time.sleep(0.5)
    processes[gone].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    try:
        _, err = processes[1 - gone].communicate(timeout=60)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert time.monotonic() - killed < 30
    assert processes[1 - gone].returncode != 0
    assert err.count("\n") == 1
    assert err.startswith(f"jaxmore: process {1 - gone}: another process is gone")


@pytest.mark.slow
def test_processes_that_do_not_meet_are_refused_in_one_line(folder: Path) -> None:
    nobody, alone = (
        f"--mesh data=2 --coordinator 127.0.0.1:{free_port()} --num-processes 2" for _ in range(2)
    )
    cases = {
        f"{nobody} --process-id 1": "cannot be reached",
        f"{alone} --process-id 0": "the processes do not find each other within 60 s",
        f"{nobody} --process-id 2": "--process-id 2 must lie in 0..1",
        nobody: "--coordinator, --num-processes and --process-id go together",
        "--mesh data=2 --process-id 0": "--coordinator, --num-processes and --process-id",
    }
    running = {flags: start(folder, *flags.split()) for flags in cases}
    for flags, process in running.items():
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out, err.count("\n")) == (2, "", 1), (flags, err)
        assert cases[flags] in err
    assert not (folder / "run").exists()
