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

Part = Literal["gradients", "training", "transformers", "sweep", "profile", "ladder"]
ALL: tuple[Part, ...] = get_args(Part)
SHARES = {
    "gradients": 170,
    "training": 150,
    "transformers": 290,
    "sweep": 110,
    "profile": 40,
    "ladder": 110,
}
"""How the time is divided. What a part leaves over goes to those after it."""
ROOT = Path(__file__).resolve().parents[2]


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
    """Where the page goes; docs on a GPU, else build/gpu."""

    def run(self) -> None:
        # Before JAX starts, here and in the contestants' processes: the card is shared.
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
        end = time.monotonic() + 60 * self.minutes
        import jax

        from benchmarks.data import require_names
        from benchmarks.gpu import NO_TIME, commands, contests
        from benchmarks.gpu.report import write_report
        from benchmarks.machine import describe_machine

        on_gpu = jax.default_backend() == "gpu"
        os.environ["TORCH_DEVICE"] = "cuda" if on_gpu else "cpu"
        folder = self.output or ROOT / ("docs" if on_gpu else "build/gpu")
        folder.mkdir(parents=True, exist_ok=True)
        if not self.tiny:
            require_names()
        json_file = folder / "gpu.json"
        results = json.loads(json_file.read_text("utf-8")) if json_file.exists() else {}
        runners: dict[str, Callable[[bool, float], Iterator[dict[str, Any]]]] = {
            "gradients": commands.gradients,
            "sweep": commands.sweep,
            "profile": partial(contests.profile_slowest, results),
        }
        for part, its in contests.CONTESTS.items():
            runners[part] = partial(contests.hold, its)
        machine = describe_machine()
        for i, name in enumerate(self.parts):
            start = time.monotonic()
            share = SHARES[name] / sum(SHARES[part] for part in self.parts[i:])
            print(f"{name}: {share * (end - start):.0f} s", flush=True)
            rows: list[dict[str, Any]] = []
            status = "complete"
            try:
                for row in runners[name](self.tiny, start + share * (end - start)):
                    rows.append(row)
            except Exception as error:
                status = f"failed, {type(error).__name__}: {error}"
            if any(row.get("note") == NO_TIME for row in rows):
                status += ", out of time"
            results[name] = {
                "machine": machine,
                "rounds": "a tiny trial" if self.tiny else "full run",
                "seconds": time.monotonic() - start,
                "status": status,
                "rows": rows,
            }
            print(f"{name}: {status}", flush=True)
            json_file.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
            (folder / "gpu.md").write_text(write_report(results), "utf-8")
        print((folder / "gpu.md").read_text("utf-8"))


if __name__ == "__main__":
    tyro.cli(Gpu).run()
