"""Scalars for TensorBoard, from the extra ``jaxmore[tensorboard]``."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from jaxmore.errors import InputError
from jaxmore.training.loop import Chunk

PACKAGE = "tensorboardX"


def check_tensorboard() -> None:
    """Raise InputError if the package that writes the events is not installed."""
    if find_spec(PACKAGE) is None:
        raise InputError("--tensorboard needs a package: pip install tensorboardX")


class Scalars:
    """The losses and update-to-data ratios of a run, as event files."""

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
        for path, ratio in chunk.update_to_data.items():
            if np.isfinite(ratio):
                self._writer.add_scalar(f"update_to_data/{path}", float(ratio), chunk.step)

    def close(self) -> None:
        """Write what is buffered, and close the file."""
        self._writer.close()
