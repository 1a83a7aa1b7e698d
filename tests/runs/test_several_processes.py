"""Real processes over loopback: the bits of one, and an end in one line where one is missing."""

import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from jaxmore.data import write_pack
from tests.command_line import WORDS, refused, run, tree
from tests.faults.processes import free_port

MAIN = """
import sys
from jaxmore.cli import main
from jaxmore.runs import processes
processes.PATIENCE = 5
main(sys.argv[1:])
"""
"""With less patience than users need."""
COUNTING = """
import sys
from jaxmore.cli import main
from jaxmore.data import PackedExamples
read = PackedExamples.__getitem__
def read_and_count(self, at):
    with open(f"rows{sys.argv[-1]}", "a") as file:
        print(len(at), file=file)
    return read(self, at)
PackedExamples.__getitem__ = read_and_count
main(sys.argv[1:])
"""
"""Writes how many examples are read at once into a file of the process."""
DEVICES = Path(__file__).parents[2] / "docs" / "how-to" / "devices.md"
TRAIN = ["--type", "bigram", "-b", "8", "--schedule", "constant", "--chunk-size", "3"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "words.txt").write_text("\n".join(WORDS), "utf-8")
    return tmp_path


def start(
    folder: Path, *flags: str, program: str | None = None, words: str = "words.txt"
) -> subprocess.Popen[str]:
    command = ["-m", "jaxmore"] if program is None else ["-c", program]
    return subprocess.Popen(
        [sys.executable, *command, "train", "-i", words, *TRAIN, *flags],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_all(folder: Path, *flags: str) -> list[subprocess.Popen[str]]:
    """Two processes with one work folder."""
    flags = (*flags, "--mesh", "data=2", "--coordinator", f"127.0.0.1:{free_port()}")
    return [
        start(folder, *flags, "--num-processes", "2", "--process-id", str(i), "-o", "run")
        for i in range(2)
    ]


def test_two_processes_have_the_bits_of_one_which_goes_on(folder: Path) -> None:
    processes = start_all(folder, "--max-steps", "3")
    (first, _), (second, err) = (process.communicate(timeout=300) for process in processes)
    assert [process.returncode for process in processes] == [0, 0], err
    # The first process alone prints.
    assert "loss: train" in first
    assert second == ""
    flags = ["-i", folder / "words.txt", *TRAIN, "--max-steps", "6", "--mesh", "data=1"]
    run("train", *flags, "-o", folder / "run", "--resume")
    run("train", *flags, "-o", folder / "whole")
    for name in ("model.safetensors", "metrics.jsonl"):
        resumed, whole = ((folder / of / name).read_bytes() for of in ("run", "whole"))
        assert resumed == whole, name


@pytest.mark.slow
def test_of_a_pack_each_process_reads_its_rows(folder: Path) -> None:
    words = folder / "words.txt"
    write_pack(words, folder / "words.pack")
    flags = ["--type", "bengio", "--n-embd2", "8", "--max-steps", "6"]
    several = ["--mesh", "data=2", "--coordinator", f"127.0.0.1:{free_port()}"]
    several += ["--num-processes", "2", "-o", "run"]
    processes = [
        start(
            folder, *flags, *several, "--process-id", str(i), program=COUNTING, words="words.pack"
        )
        for i in range(2)
    ]
    for process in processes:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    for i in range(2):  # two chunks of three steps, each half of a batch of eight
        read = (folder / f"rows{i}").read_text("utf-8").split()
        assert read.count("12") == 2, read
        assert "24" not in read
    run("train", "-i", words, "-o", folder / "one", *TRAIN, *flags, "--mesh", "data=1")
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (folder / "run" / name).read_bytes() == (folder / "one" / name).read_bytes(), name


@pytest.mark.slow
def test_a_folder_that_the_others_see_late_is_waited_for(folder: Path) -> None:
    """As on a network file system, which remembers for a while that a name was missing."""
    flags = ["--mesh", "data=2", "--coordinator", f"127.0.0.1:{free_port()}", "--num-processes=2"]
    flags += ["--max-steps", "3"]
    processes = [start(folder, *flags, f"--process-id={i}", "-o", f"run{i}") for i in range(2)]
    until = time.monotonic() + 120
    while not (folder / "run0" / "run.json").exists() and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(2)
    (folder / "run1").symlink_to("run0")
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "")


def slurm() -> tuple[str, list[dict[str, str]]]:
    """What `srun` runs, and what it sets for two processes on one host."""
    (command,) = re.findall(r"^srun (.+)$", DEVICES.read_text("utf-8"), re.M)
    job = random.randrange(4096)  # JAX makes a port of it, from 61,440 on, beyond those of Linux
    common = {"SLURM_JOB_ID": str(job), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    return command.replace("data=8", "data=2"), [
        common | {"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)} for i in range(2)
    ]


def kubernetes() -> tuple[str, list[dict[str, str]]]:
    """What the containers run, of two pods in place of four, and what the Job sets in them."""
    (manifest,) = re.findall(r"^```yaml\n(.+?)^```$", DEVICES.read_text("utf-8"), re.M | re.S)
    service, job = yaml.safe_load_all(manifest)
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    shell, (command,) = container["command"], container["args"]
    assert shell == ["sh", "-c"]
    assert spec["completionMode"] == "Indexed"
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert service["metadata"]["name"] == pod["subdomain"]
    assert f"--coordinator {job['metadata']['name']}-0.{pod['subdomain']}:1234" in command
    pods = f"--num-processes {spec['completions']}"
    assert pods in command
    assert f"--mesh data={spec['parallelism']}" in command
    for old, new in (
        ("train-0.train:1234", f"127.0.0.1:{free_port()}"),
        (pods, "--num-processes 2"),
        ("data=4", "data=2"),
    ):
        command = command.replace(old, new)
    return command.rstrip("\n"), [{"JOB_COMPLETION_INDEX": str(i)} for i in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [slurm, kubernetes])
def test_a_launcher_of_the_docs_has_the_bits_of_one_process(launcher: Any, folder: Path) -> None:
    command, environments = launcher()
    flags = [*TRAIN, "--max-steps", "3"]  # a smaller batch than the recipe's
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    root = str(Path(__file__).parents[2])
    processes = [
        subprocess.Popen(
            ["sh", "-c", f"{command} {shlex.join(flags)}"],
            cwd=folder,
            env=os.environ | {"PATH": path, "PYTHONPATH": root} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for environment in environments
    ]
    for process in processes:
        _, err = process.communicate(timeout=300)
        assert (process.returncode, err) == (0, "")
    words = ["-i", folder / "words.txt", "-o", folder / "one"]
    run("train", *words, *flags, "--mesh", "data=1")
    one, several = (folder / name / "model.safetensors" for name in ("one", "run"))
    assert several.read_bytes() == one.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("gone", [0, 1])
def test_when_one_is_killed_the_other_ends_with_one_line(folder: Path, gone: int) -> None:
    processes = start_all(folder, "--max-steps", "100000000", "--save-every", "0")
    until = time.monotonic() + 120
    while not list((folder / "run").glob("checkpoints/step-*")) and time.monotonic() < until:
        time.sleep(0.2)
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
    assert err.startswith(f"jaxmore: process {1 - gone}: another process is gone"), err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_processes_that_do_not_meet_are_refused_in_one_line(folder: Path) -> None:
    def alone(i: int) -> list[str]:
        return [f"--coordinator=127.0.0.1:{free_port()}", "--num-processes=2", f"--process-id={i}"]

    cases = {
        "cannot be reached": alone(1),
        "the processes do not find each other within 5 s": alone(0),
    }
    started = {
        line: start(folder, "--mesh", "data=2", *flags, program=MAIN)
        for line, flags in cases.items()
    }
    for line, process in started.items():
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out, err.count("\n")) == (2, "", 1), err
        assert line in err
    assert not (folder / "out").exists()


@pytest.mark.slow
def test_processes_with_other_flags_are_refused_and_nothing_is_written(folder: Path) -> None:
    flags = ["--mesh", "data=2", "--coordinator", f"127.0.0.1:{free_port()}", "--num-processes=2"]
    processes = [start(folder, *flags, f"--process-id={i}", f"--seed={i}") for i in range(2)]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out, err.count("\n")) == (2, "", 1), err
        assert "process 1 has other flags or words than process 0" in err
    assert not (folder / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("old", [False, True])
def test_processes_with_work_folders_of_their_own_are_refused(folder: Path, old: bool) -> None:
    if old:
        run("train", "-i", folder / "words.txt", "-o", folder / "run0", *TRAIN, "--max-steps", "1")
    before = tree(folder / "run0")
    flags = ["--mesh", "data=2", "--coordinator", f"127.0.0.1:{free_port()}", "--num-processes=2"]
    flags += ["--overwrite"] * old
    processes = [
        start(folder, *flags, f"--process-id={i}", "-o", f"run{i}", program=MAIN) for i in range(2)
    ]
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert (process.returncode, err.count("\n")) == (2, 1), err
        assert "process 1 has another folder than process 0" in err
    if old:
        assert tree(folder / "run0") == before


@pytest.mark.parametrize(
    ("flags", "line"),
    {
        "--num-processes 2": "--coordinator, --num-processes and --process-id need --mesh",
        "--mesh data=2 --process-id 0": "--coordinator, --num-processes and --process-id need each",
        "--mesh data=2 --coordinator a:1 --num-processes 2 --process-id 2": "--process-id must lie",
        "--mesh data=2 --coordinator a --num-processes 2 --process-id 1": "--coordinator a must",
    }.items(),
)
def test_the_wrong_flag_is_named(
    flags: str, line: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["train", "-i", folder / "words.txt", "-o", folder / "run", *flags.split()]
    assert refused(capsys, *args).startswith(f"jaxmore: {line}")
    assert not (folder / "run").exists()
