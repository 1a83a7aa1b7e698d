"""The results of ``jaxmore sweep``: a table, a figure, and those of several processes as one."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxmore.errors import InputError
from jaxmore.runs.config import CHANGEABLE
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
            deviation = f" ± {of_split.std(ddof=1):.4f}" if len(losses) > 1 else ""
            row.append(f"{of_split.mean():.4f}{deviation}")
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
    settings: list[tuple[float, float, int]]
    """Learning rate, weight decay and seed of every run; each process trains every n-th."""
    overwrite: bool
    """Whether results of another sweep may be replaced."""

    def of(self, process: int) -> Path:
        """Return the folder in which a process keeps its runs."""
        return self.folder / f"process-{process}-of-{self.n_processes}"

    def read(self, process: int, record: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the runs that a process has done so far.

        Args:
            process: its number.
            record: what the file of this process holds besides its runs.

        Raises:
            InputError: the process trains with other flags or words, or its file is damaged.
        """
        from jaxmore.files import read_file
        from jaxmore.runs.folder import SWEEP

        path = self.of(process) / SWEEP
        if not path.exists():
            return []
        try:
            theirs = json.loads(read_file(path))
            runs = [Result(**run) for run in theirs["runs"]]
            ours = self.settings[process :: self.n_processes][: len(runs)]
            same = (
                _decisive(theirs) == _decisive(record)
                and [(*run.setting, run.seed) for run in runs] == ours
            )
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is damaged: move it away") from error
        if not same and not self.overwrite:
            raise InputError(f"{path} belongs to another sweep: --overwrite replaces it")
        return theirs["runs"] if same else []

    def join(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the runs of all processes, as far as they are done."""
        n = self.n_processes
        shares = [self.read(process, record) for process in range(n)]
        places = ((i % n, i // n) for i in range(len(self.settings)))
        return [shares[i][j] for i, j in places if j < len(shares[i])]


def _decisive(record: dict[str, Any]) -> Any:
    """What the results of a sweep depend on, on machines of one kind."""
    flags = {name: value for name, value in record["flags"].items() if name not in CHANGEABLE}
    return json.dumps([flags, record["data"]["sha256"], record["steps"]], sort_keys=True)
