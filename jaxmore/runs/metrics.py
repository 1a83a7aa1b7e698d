"""The metrics of a run: ``metrics.jsonl``, with a line for every chunk, and TensorBoard scalars."""

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxmore.errors import InputError
from jaxmore.files import write_atomically
from jaxmore.runs.folder import METRICS
from jaxmore.training.loop import Chunk

if TYPE_CHECKING:
    from jaxmore.plots import Picture


class Metrics:
    """The metrics of a run. They go to the disk as they come, so memory does not grow."""

    def __init__(self, path: Path, first_step: int) -> None:
        """Keep the lines of the file up to ``first_step``, and drop those after it."""
        kept = _lines_up_to(path, first_step)
        self.last_step: int = json.loads(kept[-1])["step"] if kept else 0
        """The number of steps up to the end of the last chunk."""
        write_atomically(path, b"".join(kept))
        self._file = open(path, "ab")  # noqa: SIM115 (closed by close)

    def add(
        self,
        chunk: Chunk,
        losses: dict[str, float] | None = None,
        gradient_to_data: dict[str, float] | None = None,
    ) -> None:
        """Write the line of a chunk.

        NaN and infinity, which JSON does not have, are left out.

        Args:
            chunk: the chunk.
            losses: the losses of the splits, if they were evaluated.
            gradient_to_data: log10 of std(gradient) / std(parameter) by path, with --diagnose.
        """
        finite = chunk.losses[np.isfinite(chunk.losses)]
        line: dict[str, Any] = {"step": chunk.step}
        if len(finite):
            line["loss"] = float(finite.mean())
        line["batch_hash"] = f"{chunk.batch_hash:08x}"
        line["update_to_data"] = _finite(chunk.update_to_data)
        if gradient_to_data is not None:
            line["gradient_to_data"] = _finite(gradient_to_data)
        if len(finite) < len(chunk.losses):
            line["skipped"] = len(chunk.losses) - len(finite)
        if losses is not None:
            line["losses"] = losses
        self.last_step = chunk.step
        self._write(line)

    def finish(self, step: int, results: dict[str, float]) -> None:
        """Write the final line, the loss of every split."""
        self._write({"step": step, **results})

    def sync(self) -> None:
        """Flush the lines to the disk, since no checkpoint may be ahead of them."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()


def _finite(ratios: dict[str, float]) -> dict[str, float]:
    return {path: ratio for path, ratio in ratios.items() if np.isfinite(ratio)}


def check_tensorboard() -> None:
    """Raise InputError if the package that writes the events is not installed."""
    if find_spec("tensorboardX") is None:
        raise InputError("--tensorboard needs tensorboardX: pip install tensorboardX")


class Scalars:
    """The losses and update-to-data ratios of a run as TensorBoard's event files.

    They need the extra ``jaxmore[tensorboard]``.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        """Go on after ``first_step``: TensorBoard drops what earlier files say of later steps."""
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first_step + 1, flush_secs=10)

    def add(self, chunk: Chunk, losses: dict[str, float] | None) -> None:
        """Write the scalars of a chunk, and the losses of the splits if they were evaluated."""
        finite = chunk.losses[np.isfinite(chunk.losses)]
        if len(finite):
            self._writer.add_scalar("loss/batches", float(finite.mean()), chunk.step)
        for split, loss in (losses or {}).items():
            self._writer.add_scalar(f"loss/{split}", loss, chunk.step)
        for path, ratio in _finite(chunk.update_to_data).items():
            self._writer.add_scalar(f"update_to_data/{path}", float(ratio), chunk.step)

    def close(self) -> None:
        """Write what is buffered, and close the file."""
        self._writer.close()


class History(NamedTuple):
    """The metrics of a run, as lists with an entry for each chunk."""

    steps: list[int]
    """The last step of the chunk."""
    losses: list[float]
    """The mean loss of the chunk; NaN if all of its steps were skipped."""
    update_to_data: list[dict[str, float]]
    """log10 of std(update) / std(parameter) by path, at the last step."""
    gradient_to_data: list[dict[str, float]]
    """The same of the gradient; empty for a chunk without ``--diagnose``."""
    results: dict[str, float]
    """The final loss of each split; empty for a run that is not finished."""


def read_history(work_dir: str | os.PathLike[str]) -> History:
    """Read the metrics in a work folder.

    Raises:
        InputError: there are none.
    """
    path = Path(work_dir) / METRICS
    chunks = [json.loads(line) for line in _lines_up_to(path, sys.maxsize)]
    if not chunks:
        raise InputError(f"{path} holds no metrics of a run")
    return History(
        steps=[chunk["step"] for chunk in chunks],
        losses=[chunk.get("loss", float("nan")) for chunk in chunks],
        update_to_data=[chunk["update_to_data"] for chunk in chunks],
        gradient_to_data=[chunk.get("gradient_to_data", {}) for chunk in chunks],
        results=_results(path.read_bytes()),
    )


def loss_curve(work_dir: str | os.PathLike[str], title: str = "") -> "Picture":
    """Draw the losses of a run and the sizes of its updates, from the metrics in its work folder.

    Args:
        work_dir: the folder, as ``jaxmore train -o`` and ``fit(work_dir=...)`` have it.
        title: what stands above the figure.

    Returns:
        A matplotlib figure, which a notebook shows: that of ``loss.png``, under this title.

    Raises:
        InputError: there are no metrics in the folder.
    """
    from jaxmore import plots

    steps, losses, ratios, _, results = read_history(work_dir)
    return plots.loss_curve(steps, losses, ratios, results, title)


def _results(metrics: bytes) -> dict[str, float]:
    """Return the losses of the final line; nothing for a run that is not finished."""
    try:
        last = json.loads(metrics.splitlines()[-1])
        return {} if "update_to_data" in last else {k: v for k, v in last.items() if k != "step"}
    except (ValueError, AttributeError, TypeError):  # torn when the run was killed
        return {}


def _lines_up_to(path: Path, step: int) -> list[bytes]:
    """Return the intact lines of chunks up to a step, without the final line of a run."""
    kept: list[bytes] = []
    if not path.exists():
        return kept
    last = 0
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            content = json.loads(line)
            at, *_ = (
                content["step"],
                content.get("loss", 0.0) + 0.0,
                content["update_to_data"].items(),
                content.get("gradient_to_data", {}).items(),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        if line.endswith(b"\n") and isinstance(at, int) and last < at <= step:
            kept.append(line)
            last = at
    return kept
