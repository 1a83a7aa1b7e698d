"""What the fault injections share: a small run, the commands as processes, what must be equal."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
WORDS = [a + b + c for a in ("ka", "mi", "ro", "ta") for b in ("", "n", "li") for c in "aeo"]
FLAGS = ["--n-embd2", "16", "-b", "8", "--optimizer", "adamw", "--save-every", "0.05"]
FLAGS += ["--chunk-size", "250", "--max-steps", "40000", "--eval-every", "8000"]
"""About two seconds of training, a checkpoint every tenth of one, and five evaluations."""


class Results(NamedTuple):
    """Everything that must be equal bit for bit."""

    metrics: bytes
    model: bytes
    last: bytes
    state: dict[str, bytes]
    samples: list[str]


def samples(printed: str) -> list[str]:
    """The last twenty words that a run printed, with their marks."""
    marks = (" in train", " in dev/test", " new")
    return [line for line in printed.splitlines() if line.endswith(marks)][-20:]


class Lab:
    """A folder with words and a cache of compiled programs, so that a process starts fast."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="jaxmore-faults-"))
        self.words = self.folder / "words.txt"
        self.words.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
        self.environment = os.environ | {"XDG_CACHE_HOME": str(self.folder / "cache")}
        self.environment.pop("JAX_COMPILATION_CACHE_DIR", None)  # in the short tests the session's

    def start(
        self, *args: object, largest_file: int | None = None, powerless: bool = False
    ) -> subprocess.Popen[str]:
        """``powerless``: permissions hold, for root too."""
        limit = ["prlimit", f"--fsize={largest_file}"] if largest_file is not None else []
        drop = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]
        return subprocess.Popen(
            [
                *limit,
                *(drop if powerless and os.geteuid() == 0 else []),
                sys.executable,
                "-m",
                "jaxmore",
                *map(str, args),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=self.environment,
        )

    def run(self, *args: object, **limits: Any) -> tuple[int, str, str]:
        process = self.start(*args, **limits)
        out, err = process.communicate(timeout=600)
        return process.returncode, out, err

    def train(self, out: Path, *flags: object) -> list[object]:
        return ["train", "-i", self.words, "-o", out, *FLAGS, *flags]

    def undisturbed(self) -> tuple[Path, Results, float]:
        """A run that nothing disturbs, and how long it takes once its programs are compiled."""
        out = self.folder / "undisturbed"
        self.run(*self.train(self.folder / "warm"))
        started = time.monotonic()
        code, printed, err = self.run(*self.train(out))
        assert (code, err) == (0, ""), err
        return out, results(out, printed), time.monotonic() - started

    def wait_for(self, process: subprocess.Popen[str], path: Path) -> None:
        while process.poll() is None and not path.exists():
            time.sleep(0.001)

    def resumed_is(self, out: Path, expected: Results) -> bool:
        """Whether a run that was stopped at any moment ends as the undisturbed one."""
        resume = ["--resume"] if (out / "run.json").exists() else []
        code, printed, err = self.run(*self.train(out, *resume))
        if code != 0 or results(out, printed) != expected:
            print(f"{out.name}: exit {code}, {err}")
            return False
        return True


def results(out: Path, printed: str) -> Results:
    import orbax.checkpoint as ocp

    newest = max((out / "checkpoints").glob("step-*"))
    import jax

    with ocp.PyTreeCheckpointer() as orbax:
        saved = orbax.metadata(newest / "state").item_metadata.tree
        whole = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), saved)
        tree = orbax.restore(newest / "state", restore_args=whole)
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return Results(
        metrics=(out / "metrics.jsonl").read_bytes(),
        model=(out / "model.safetensors").read_bytes(),
        last=(out / "last" / "model.safetensors").read_bytes(),
        state={jax.tree_util.keystr(k): np.asarray(leaf).tobytes() for k, leaf in leaves},
        samples=samples(printed),
    )
