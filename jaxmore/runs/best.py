"""Which model of a run is the best, and how long ago it was."""

import math
import sys
from collections.abc import Container
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmore.errors import InputError
from jaxmore.layers import Tree
from jaxmore.runs.folder import CONFIG, TENSORS
from jaxmore.runs.prepared import Task
from jaxmore.runs.records import provenance
from jaxmore.runs.trained import SavedModel, load_model, save_model
from jaxmore.training.evaluation import calibrate, mean_loss


class Best(NamedTuple):
    """The best evaluation of a run so far; every checkpoint holds it."""

    step: int = 0
    loss: float = math.inf
    since: int = 0
    """Evaluations after it, none of them better."""

    def then(self, step: int, loss: float) -> "Best":
        """After one more evaluation."""
        return Best(step, loss) if loss < self.loss else self._replace(since=self.since + 1)

    @classmethod
    def of(cls, record: dict[str, Any]) -> "Best":
        """That of a checkpoint's record.

        Raises:
            InputError: it holds none.
        """
        try:
            step, loss, since = record["best"]
            return cls(int(step), float(loss), int(since))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"the checkpoint tells of no evaluations: {error!r}") from error


def snapshot(task: Task, step: int, params: Tree) -> SavedModel:
    """The model after a step, with its statistics; its losses are not known yet."""
    return SavedModel(
        type=task.config.type,
        options=task.options,
        vocab=task.vocab,
        params=params,
        stats=calibrate(task.model, params, task.data["train"][0]),
        record=provenance(task.settings, task.corpus, step),
    )


def evaluated(task: Task, saved: SavedModel) -> SavedModel:
    """The same model with the exact loss of every split.

    Raises:
        InputError: a loss is NaN or infinite.
    """
    losses = {
        name: mean_loss(task.model, saved.params, saved.stats, *split)
        for name, split in task.data.items()
    }
    if not np.isfinite(list(losses.values())).all():
        raise InputError(f"the trained model has losses {losses}: lower --learning-rate")
    return saved._replace(record=saved.record | {"losses": losses})


def held_out(splits: Container[str]) -> str:
    """Which of the splits models are chosen by.

    It is dev; makemore.py has no dev words: its types are chosen by test, as it does.
    """
    return "dev" if "dev" in splits else "test"


class Shelf:
    """The work folder's ``model.safetensors``: a better model takes its place, no worse one."""

    def __init__(self, work_dir: Path) -> None:
        self._work_dir = work_dir
        try:
            self.model: SavedModel | None = load_model(work_dir)
        except InputError as error:
            self.model = None
            if any((work_dir / name).exists() for name in (CONFIG, TENSORS)):
                print(f"note: {error}: the next one takes its place", file=sys.stderr)

    def offer(self, saved: SavedModel) -> SavedModel:
        """Save a model unless the one there has a lower held-out loss; return what is left."""
        losses = saved.record["losses"]
        split = held_out(losses)
        there = {} if self.model is None else self.model.record["losses"]
        if self.model is None or losses[split] <= there.get(split, math.inf):
            save_model(self._work_dir, saved)
            self.model = saved
        return self.model
