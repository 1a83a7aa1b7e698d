"""``python -m benchmarks.gpu``: the parts named, or all of them, within fifteen minutes."""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tyro
from tyro.conf import Positional, arg

from benchmarks.gpu import NO_TIME, ROOT

Part = Literal["gradients", "training", "transformers", "sweep", "profile", "ladder"]
ALL: tuple[Part, ...] = get_args(Part)
SHARES = {
    "gradients": 170,
    "training": 110,
    "transformers": 330,
    "sweep": 110,
    "profile": 40,
    "ladder": 110,
}
"""How the time is divided. What a part leaves over goes to those after it."""
ENVIRONMENT = {
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # the card is shared with the contestants
    # What was compiled before would make a first step look short.
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
}
"""Here and in the processes of contestants and commands."""


@dataclass(frozen=True)
class Gpu:
    """Run jaxmore on a GPU beside its peers; write gpu.md and gpu.json.

    It wants jax and PyTorch for CUDA, and a card with nothing else to do. Parts that are not run
    keep their last results. What fails or has no time left says so, and the rest goes on; a part
    that is run by itself has all the time.
    """

    parts: Annotated[Positional[tuple[Part, ...]], arg(metavar="PART")] = ALL
    """gradients, training, transformers, sweep, profile, ladder; all by default."""
    minutes: float = 15
    """The time for all of them."""
    tiny: bool = False
    """One tiny case of each: a trial, on a CPU too."""
    output: Path | None = None
    """Where the page goes; docs by default, build/gpu for a trial."""

    def run(self) -> None:
        os.environ.update(ENVIRONMENT)  # before JAX starts
        end = time.monotonic() + 60 * self.minutes
        import jax

        from benchmarks.data import require_names
        from benchmarks.gpu import commands, contests
        from benchmarks.machine import describe_machine

        on_gpu = jax.default_backend() == "gpu"
        if not self.tiny:
            if not on_gpu:
                raise SystemExit("JAX finds no GPU; --tiny is a trial without one")
            require_names()
        os.environ["TORCH_DEVICE"] = "cuda" if on_gpu else "cpu"
        folder = self.output or ROOT / ("build/gpu" if self.tiny else "docs")
        folder.mkdir(parents=True, exist_ok=True)
        json_file = folder / "gpu.json"
        results = json.loads(json_file.read_text("utf-8")) if json_file.exists() else {}
        runners: dict[str, Callable[[bool, float], Iterator[dict[str, Any]]]] = {
            "gradients": commands.gradients,
            "sweep": commands.sweep,
            "profile": partial(contests.profile_slowest, results),
        }
        for name, contests_of_part in contests.CONTESTS.items():
            runners[name] = partial(contests.run_contests, contests_of_part)
        machine = describe_machine()
        del machine["matmul_precision"]  # this process's; each row has its own
        for i, name in enumerate(self.parts):
            start = time.monotonic()
            share = SHARES[name] / sum(SHARES[part] for part in self.parts[i:])
            print(f"{name}: {share * (end - start):.0f} s", flush=True)
            rows: list[dict[str, Any]] = []
            part: dict[str, Any] = {
                "machine": machine,
                "rounds": "a tiny trial" if self.tiny else "full run",
                "seconds": 0.0,
                "status": "interrupted",
                "rows": rows,
            }
            results[name] = part
            try:
                for row in runners[name](self.tiny, start + share * (end - start)):
                    rows.append(row)
                    part["seconds"] = time.monotonic() - start
                    write_results(folder, results)
                part["status"] = status_of(rows)
            except Exception as error:
                part["status"] = f"failed, {type(error).__name__}: {error}"
            part["seconds"] = time.monotonic() - start
            write_results(folder, results)
            print(f"{name}: {part['status']}", flush=True)
        print((folder / "gpu.md").read_text("utf-8"))


def status_of(rows: list[dict[str, Any]]) -> str:
    """Say whether every row has its figures, and if not, why."""
    notes = [row["note"] for row in rows if "note" in row]
    n_failed = len(notes) - notes.count(NO_TIME)
    reasons = [f"{n_failed} of {len(rows)} failed"] if n_failed else []
    if NO_TIME in notes:
        reasons.append("out of time")
    return ", ".join(reasons) or "complete"


def write_results(folder: Path, results: dict[str, Any]) -> None:
    """Write gpu.json and gpu.md, each whole or not at all."""
    from benchmarks.gpu.report import write_report
    from jaxmore.files import as_json, write_atomically

    write_atomically(folder / "gpu.json", as_json(results))
    write_atomically(folder / "gpu.md", write_report(results).encode())


if __name__ == "__main__":
    tyro.cli(Gpu).run()
