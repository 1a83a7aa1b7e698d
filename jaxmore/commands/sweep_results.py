"""The results of ``jaxmore sweep``: a table, a figure, and those of several processes as one."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxmore.errors import InputError
from jaxmore.terminal import paint, table


class Result(NamedTuple):
    """The result of one training of the sweep."""

    learning_rate: float
    weight_decay: float
    seed: int
    losses: dict[str, float | None]
    """The exact loss of the train split and of the held-out one; None for NaN and infinity."""
    curve: list[float | None]
    """The mean loss of each chunk."""

    @property
    def setting(self) -> tuple[float, float]:
        """What the runs of a row of the table share."""
        return self.learning_rate, self.weight_decay


def finite(losses: Sequence[float]) -> list[float | None]:
    """Return the losses with None for NaN and infinity, which JSON does not have."""
    return [loss if math.isfinite(loss) else None for loss in losses]


def format_table(runs: Sequence[Result]) -> str:
    """Return a table of the mean loss of each setting over its seeds, ± standard deviation."""
    import numpy as np

    splits = list(runs[0].losses)
    rows = [["rate", "decay", "seeds", *splits]]
    means: dict[tuple[float, float], float] = {}
    for (rate, decay), group in _by_setting(runs).items():
        losses = np.array([list(run.losses.values()) for run in group], float)
        losses = losses[np.isfinite(losses).all(1)]
        row = [f"{rate:g}", f"{decay:g}", f"{len(group)}"]
        for of_split in losses.T if len(losses) else ():
            spread = f" ± {of_split.std(ddof=1):.4f}" if len(losses) > 1 else ""
            row.append(f"{of_split.mean():.4f}{spread}")
        if len(losses) < len(group):
            row.append(f"{len(group) - len(losses)} diverged")
        else:
            means[rate, decay] = float(losses[:, -1].mean())
        rows.append(row)
    lines = [table(rows, "<" * max(map(len, rows)))]
    if means:
        rate, decay = min(means, key=means.__getitem__)
        best = f"lowest {splits[-1]}: --learning-rate {rate:g} --weight-decay {decay:g}"
        lines.append(paint(best, "bold"))
    return "\n".join(lines)


def _by_setting(runs: Sequence[Result]) -> dict[tuple[float, float], list[Result]]:
    """Group the runs by setting; those of a group differ in their seeds."""
    groups: dict[tuple[float, float], list[Result]] = {}
    for run in runs:
        groups.setdefault(run.setting, []).append(run)
    return groups


def draw(folder: Path, steps: list[int], runs: Sequence[Result]) -> None:
    """Draw the curves of all runs into the folder."""
    import numpy as np

    from jaxmore import plots
    from jaxmore.runs.folder import SWEEP_CURVES

    held_out = list(runs[0].losses)[-1]
    by_setting = _by_setting(runs)
    curves = {key: np.array([r.curve for r in group], float) for key, group in by_setting.items()}
    finals = {
        key: np.array([r.losses[held_out] for r in group], float)
        for key, group in by_setting.items()
    }
    plots.save(plots.sweep_curves(steps, curves, finals, held_out), folder / SWEEP_CURVES)


class Shares(NamedTuple):
    """The runs of a sweep, shared among processes that see the same work folder."""

    folder: Path
    n_processes: int
    process: int
    asked: list[tuple[float, float, int]]
    """Learning rate, weight decay and seed of every run; each process trains every n-th."""

    def of(self, process: int) -> Path:
        """Return the folder in which a process keeps its runs."""
        return self.folder / f"process-{process}-of-{self.n_processes}"

    def check(self, record: dict[str, Any]) -> None:
        """Raise InputError if another process trains with other flags, words or versions.

        Args:
            record: what the file of this process will hold besides its runs.
        """
        for process in {*range(self.n_processes)} - {self.process}:
            self._read(process, record)

    def join(self, record: dict[str, Any]) -> list[dict[str, Any]] | None:
        """Return the runs of all processes, or None where one has not ended yet.

        Raises:
            InputError: as of :meth:`check`.
        """
        shares = [self._read(process, record) for process in range(self.n_processes)]
        if sum(map(len, shares)) < len(self.asked):
            return None
        n = self.n_processes
        return [shares[i % n][i // n] for i in range(len(self.asked))]

    def _read(self, process: int, record: dict[str, Any]) -> list[dict[str, Any]]:
        from jaxmore.files import as_json, read_file
        from jaxmore.runs.folder import SWEEP

        path = self.of(process) / SWEEP
        if not path.exists():
            return []
        theirs = json.loads(read_file(path))
        runs = theirs.pop("runs")
        settings = [(r["learning_rate"], r["weight_decay"], r["seed"]) for r in runs]
        theirs["flags"]["work_dir"] = record["flags"]["work_dir"]
        same = as_json(theirs) == as_json(record)
        if not same or settings != self.asked[process :: self.n_processes][: len(runs)]:
            raise InputError(f"{path} is of another sweep: move it away, or name another -o")
        return runs
