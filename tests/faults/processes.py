"""Several processes of one run over loopback: the bits of one; killed, and resumed by others."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults.harness import ROOT, Lab, results

PROGRAM = """
import sys
from jaxmore.cli import main
from jaxmore.runs import processes
processes.PATIENCE = 20
{mutant}
main(sys.argv[1:])
"""
"""The command, with less patience than users need, and a mistake planted."""
TRAIN = [
    "--type=mlp",
    "--n-embd2=16",
    "--batch-size=8",
    "--schedule=constant",
    "--optimizer=adamw",
    "--chunk-size=50",
]
STEPS = 600
PROMISED = 30.0
"""Seconds from the death of a process to the end of the others."""
HANGING = 180.0
"""Seconds."""
KILLS = (
    ("before", 0, 4, 2),
    ("before", 3, 4, 1),
    ("in", 0, 4, 1),
    ("in", 3, 4, 2),
    ("after", 0, 4, 2),
    ("after", 1, 2, 4),
)
"""When with regard to a save, which process, of how many, and how many go on."""
NOT_AGREED = "process 1 has other flags or words"
REFUSED = {
    "the processes do not find each other": [["--num-processes=3"]] * 2,
    "takes 3 devices, but JAX finds 2": [["--num-processes=2", "--mesh=data=3"]] * 2,
    "does not divide --batch-size 9": [["--num-processes=2", "-b", 9]] * 2,
    NOT_AGREED: [["--num-processes=2", "--seed", i] for i in range(2)],
}
"""Lines, and the flags of each process that must end with it."""
MUTANTS = {
    "every process writes": "processes.is_first = lambda: True",
    "a process begins with a state of its own": (
        "told = processes.told\n"
        "processes.told = lambda run, folder, start: told(run, folder, start) if start else "
        "told(run, folder, start)._replace(state=run.devices.begin(run.first_state()))"
    ),
    "a process begins at a step of its own": (
        "told = processes.told\n"
        "processes.told = lambda run, folder, start: told(run, folder, start) if start else "
        "told(run, folder, start)._replace(step=0)"
    ),
    "nobody asks whether the flags agree": "processes.agree = lambda run: None",
}


class Ended(NamedTuple):
    """How a process ended; ``code`` is None where it had to be killed."""

    code: int | None
    out: str
    err: str


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def start(
    folder: Path, flags: Sequence[Sequence[object]], *, mutant: str = "pass", **environment: str
) -> list[subprocess.Popen[str]]:
    """Start a process for each list of flags, in a folder with words, for the work folder out."""
    where = f"--coordinator=127.0.0.1:{free_port()}"
    command = [sys.executable, "-c", PROGRAM.format(mutant=mutant), "train", "-i", "words.txt"]
    return [
        subprocess.Popen(
            [
                *command,
                *TRAIN,
                "--eval-every=150",
                "-o",
                "out",
                where,
                f"--process-id={i}",
                *map(str, own),
            ],
            cwd=folder,
            env=os.environ | environment | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i, own in enumerate(flags)
    ]


def end(processes: Sequence[subprocess.Popen[str]], seconds: float = HANGING) -> list[Ended]:
    """Wait for processes, and kill those that hang."""
    until = time.monotonic() + seconds
    ended = []
    for process in processes:
        try:
            out, err = process.communicate(timeout=max(0.0, until - time.monotonic()))
            ended.append(Ended(process.returncode, out, err))
        except subprocess.TimeoutExpired:
            process.kill()
            ended.append(Ended(None, *process.communicate()))
    return ended


def refused(ended: Sequence[Ended], line: str) -> bool:
    """Whether every process ended with one line that holds ``line``, and exit code 2."""
    return all(
        code == 2 and not out and err.count("\n") == 1 and line in err for code, out, err in ended
    )


class Group:
    """Folders for the runs of several processes, and what an undisturbed run of one makes."""

    def __init__(self) -> None:
        self.lab = Lab()
        _, self.expected = self.train(1, "whole")

    def folder(self, name: str) -> Path:
        folder = self.lab.folder / name
        folder.mkdir(exist_ok=True)
        shutil.copy(self.lab.words, folder)
        return folder

    def start(self, n: int, name: str, *flags: object, mutant: str = "pass") -> Any:
        mesh = ["--mesh", f"data={n}", f"--num-processes={n}"]
        cache = str(self.lab.folder / "cache")  # what one compiles the next one loads
        flags = ("--max-steps", STEPS, *flags) if "--max-steps" not in flags else flags
        own = [[*mesh, *flags]] * n
        return start(self.folder(name), own, mutant=mutant, XDG_CACHE_HOME=cache)

    def train(self, n: int, name: str, *flags: object, mutant: str = "pass") -> Any:
        """Train with n processes: how they end, and the results if they end well."""
        ended = end(self.start(n, name, *flags, mutant=mutant))
        well = all(code == 0 and not err for code, _, err in ended)
        silent = all(not out for _, out, _ in ended[1:])
        return ended, results(self.folder(name) / "out", ended[0].out) if well and silent else None

    def writers(self, name: str) -> list[Path]:
        """The folders in which processes wrote the arrays of the newest checkpoint."""
        newest = max((self.folder(name) / "out" / "checkpoints").glob("step-*"))
        return [path for path in newest.glob("state/ocdbt.process_*") if any(path.glob("d/*"))]

    def differing(self, n: int, name: str, *flags: object) -> int:
        """Train, and compare with the undisturbed run of one process."""
        ended, found = self.train(n, name, *flags)
        if found != self.expected:
            others = found and [
                of for of in found._fields if getattr(found, of) != getattr(self.expected, of)
            ]
            print(f"{name}: {others}, {[(code, err[-300:]) for code, _, err in ended]}")
        return int(found != self.expected)


def run() -> dict[str, Any]:
    group = Group()
    counts = bits(group) | stops(group) | kills(group) | refusals(group) | mutants(group)
    shutil.rmtree(group.lab.folder)
    return counts


def bits(group: Group) -> dict[str, Any]:
    """Four processes, and runs that go on with two, one and four, without shards and with them."""
    differing, writers = group.differing(4, "four"), []
    for shards in ("--no-shard-params", "--shard-params"):
        name = f"in turn, {shards}"
        for n, steps in ((4, 150), (2, 300), (1, 450)):
            group.train(n, name, shards, "--max-steps", steps, *["--resume"] * (n < 4))
            writers.append(len(group.writers(name)))
        differing += group.differing(4, name, shards, "--resume")
    return {"compared": 3, "differing": differing, "processes that wrote arrays": writers}


def stops(group: Group) -> dict[str, Any]:
    """A signal to the first process stops all, and a run on another number goes on."""
    started = group.start(4, "stopped", "--shard-params", "--save-every", 3600)
    _wait_for("before", group.folder("stopped") / "out", started[0])
    started[0].terminate()
    ended = end(started)
    well = all(code == 143 and "stopped after" in err for code, _, err in ended)
    if not well:
        print(f"stopped: {[(code, err[-300:]) for code, _, err in ended]}")
    differing = group.differing(2, "stopped", "--resume")
    return {"stopped, all with a checkpoint": int(well), "stopped and resumed differing": differing}


def kills(group: Group) -> dict[str, Any]:
    counts = {"kills": 0, "in a save": 0, "others ended with one line": 0, "resumed differing": 0}
    took: list[float] = []
    for moment, victim, n, others in KILLS:
        name = f"{moment} a save, process {victim}"
        out = group.folder(name) / "out"
        started = group.start(
            n, name, "--shard-params", "--save-every", 3600 if moment == "before" else 0
        )
        _wait_for(moment, out, started[0])
        killed = started.pop(victim)
        killed.kill()
        began = time.monotonic()
        counts["in a save"] += (out / "checkpoints" / ".partial").exists()
        ended = end(started, 2 * PROMISED)
        took.append(time.monotonic() - began)
        killed.communicate()
        counts["kills"] += 1
        if all(code and err.count("\n") == 1 and "is gone" in err for code, _, err in ended):
            counts["others ended with one line"] += 1
        else:
            print(f"{name}: {[(code, err[-300:]) for code, _, err in ended]}")
        counts["resumed differing"] += group.differing(others, name, "--resume")
    return counts | {
        "seconds until the others ended, at most": round(max(took), 1),
        "later than promised": sum(seconds > PROMISED for seconds in took),
        "more than a line": counts["kills"] - counts["others ended with one line"],
    }


def refusals(group: Group) -> dict[str, Any]:
    refused_in_one_line = 0
    for line, flags in REFUSED.items():
        folder = group.folder(f"refused, {line[:9]}")
        ended = end(start(folder, [["--mesh=data=2", *own] for own in flags]))
        if refused(ended, line) and not (folder / "out").exists():
            refused_in_one_line += 1
        else:
            print(f"{line}: {ended}")
    return {
        "wrong starts": len(REFUSED),
        "refused in one line": refused_in_one_line,
        "tracebacks": len(REFUSED) - refused_in_one_line,
    }


def mutants(group: Group) -> dict[str, Any]:
    """Mistakes planted in the processes: the comparison of bits or of flags must see each."""
    alive = 0
    group.train(1, "half", "--max-steps", 300)
    for name, mutant in MUTANTS.items():
        folder = Path(shutil.copytree(group.folder("half"), group.lab.folder / name))
        if "agree" in name:
            flags = [["--mesh=data=2", "--max-steps=1", *own] for own in REFUSED[NOT_AGREED]]
            shutil.rmtree(folder / "out")
            ended = end(start(folder, flags, mutant=mutant))
            survives = refused(ended, NOT_AGREED)
        else:
            ended, found = group.train(2, name, "--resume", mutant=mutant)
            survives = found == group.expected
        # A mistake that no longer fits the code ends in one of these errors, and shows nothing.
        misfits = ("TypeError", "AttributeError")
        survives = survives or any(error in err for _, _, err in ended for error in misfits)
        alive += survives
        if survives:
            print(f"alive: {name}")
    return {"mutants": len(MUTANTS), "mutants alive": alive}


def _wait_for(moment: str, out: Path, first: subprocess.Popen[str]) -> None:
    """Wait until the first process has trained, is in a save, or has done one."""
    metrics = out / "metrics.jsonl"
    seen = {
        "before": lambda: metrics.exists() and metrics.stat().st_size,
        "in": (out / "checkpoints" / ".partial").exists,
        "after": lambda: list(out.glob("checkpoints/step-*")),
    }[moment]
    until = time.monotonic() + HANGING
    while not seen() and time.monotonic() < until and first.poll() is None:
        time.sleep(0.001)
