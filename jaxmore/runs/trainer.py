"""A run at work: its steps, what is looked at between them, and what is saved."""

import shlex
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp

from jaxmore.errors import InputError
from jaxmore.runs.best import Best, Shelf, evaluated, held_out, snapshot
from jaxmore.runs.folder import METRICS
from jaxmore.runs.inference import print_samples
from jaxmore.runs.metrics import Metrics
from jaxmore.runs.prepared import Task
from jaxmore.runs.progress import with_progress
from jaxmore.runs.saver import Saver
from jaxmore.runs.signals import GracefulStop, Stopped
from jaxmore.runs.trained import SavedModel
from jaxmore.training.divergence import diverged_at, diverged_line, first_to_turn
from jaxmore.training.loop import Chunk, State, copy_state, train


class Moment(NamedTuple):
    """What a checkpoint holds. Nothing donates its state."""

    step: int
    state: State
    best: Best


class Session:
    """A run at work in its folder, which is locked.

    Each chunk consumes the state that it begins with. The copy in ``last`` is what is saved, what
    is left if the chunk diverges, and where the replay to the step that did begins.
    """

    def __init__(self, task: Task, start: Moment, metrics: Metrics, saver: Saver) -> None:
        """Go on from a moment; ``metrics`` and ``saver`` are the caller's to close."""
        self.task, self.start, self.last = task, start, start
        self.metrics, self.saver = metrics, saver
        self.work_dir = Path(task.config.work_dir)
        self.shelf = Shelf(self.work_dir)
        self._looked_at: SavedModel | None = None
        self._X, self._Y = (jnp.array(a) for a in task.data["train"])
        if metrics.last_step != start.step:
            print(f"note: {METRICS} has lost lines before step {start.step:,}", file=sys.stderr)

    def save_and_go(self) -> str:
        """Bring the last moment to the disk; a line that says how to go on from it."""
        self._save()
        self.saver.wait()
        how = f"jaxmore train --resume -o {shlex.quote(str(self.work_dir))}"
        return f"stopped after {self.last.step:,} steps, to go on: {how}"

    def train(self, stop: GracefulStop) -> None:
        """Up to the last step, or to the end of patience.

        Raises:
            InputError: it diverged.
            Stopped: a signal came.
        """
        task, config, settings = self.task, self.task.config, self.task.settings
        began = time.perf_counter()
        chunks = train(
            task.model,
            task.optimizer,
            copy_state(self.start.state),
            self._X,
            self._Y,
            task.keys[1],
            batch_size=settings.batch_size,
            max_steps=self.start.step if self._out_of_patience else settings.max_steps,
            chunk_size=config.chunk_size,
            first_step=self.start.step,
            pauses=[every for every in (config.eval_every, config.sample_every) if every],
        )
        for chunk in with_progress(chunks, self.start.step, settings.max_steps):
            self._refuse_divergence(chunk)
            self._look(chunk)
            if self.saver.due:
                self._save()
            self._obey(stop)
            if self._out_of_patience:
                break
        seconds = time.perf_counter() - began
        n_steps = self.last.step - self.start.step
        if n_steps:
            self._save()
        if self._out_of_patience:
            step, loss, since = self.last.best
            print(
                f"step {self.last.step:,} is the last: {since} evaluations were no better than "
                f"that of step {step:,}, {loss:.4f}"
            )
        print(f"{n_steps:,} steps in {seconds:.1f} s, compilation included", flush=True)

    def finish(self, stop: GracefulStop) -> SavedModel:
        """The last model, evaluated.

        Raises:
            InputError: a loss is not finite, or a checkpoint could not be written.
            Stopped: a signal came.
        """
        saved = self._looked_at
        if saved is None or saved.record["training"]["step"] != self.last.step:
            step, state, _ = self.last
            saved = evaluated(self.task, snapshot(self.task, step, state.params))
        self._obey(stop)
        self.saver.wait()
        losses = saved.record["losses"]
        self.metrics.finish(self.last.step, losses)
        line = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
        print(f"loss: {line}", flush=True)  # a signal may end the process without a flush
        return saved

    @property
    def _out_of_patience(self) -> bool:
        patience = self.task.config.patience
        return patience is not None and self.last.best.since >= patience

    def _look(self, chunk: Chunk) -> None:
        """Evaluate and sample where it is time to, and note the chunk."""
        config, best, losses = self.task.config, self.last.best, None
        state = copy_state(chunk.state)
        evaluating, sampling = (
            every > 0 and chunk.step % every == 0
            for every in (config.eval_every, config.sample_every)
        )
        if evaluating or sampling:
            saved = snapshot(self.task, chunk.step, state.params)
            if evaluating:
                saved = self._looked_at = evaluated(self.task, saved)
                losses = saved.record["losses"]
                best = best.then(chunk.step, losses[held_out(losses)])
                line = " ".join(f"{name} loss: {loss:.4f}" for name, loss in losses.items())
                print(f"step {chunk.step:,} {line}", flush=True)
                self.shelf.offer(saved)
            if sampling:
                seed = self.task.settings.seed
                print_samples(saved, self.task.corpus.splits, n_words=10, seed=seed)
        self.metrics.add(chunk, losses)
        self.last = Moment(chunk.step, state, best)

    def _save(self) -> None:
        step, state, best = self.last
        self.saver.save(step, state, self.task.record | {"best": best})

    def _obey(self, stop: GracefulStop) -> None:
        if stop.number is not None:
            raise Stopped(stop.number, self.save_and_go())

    def _refuse_divergence(self, chunk: Chunk) -> None:
        settings = self.task.settings
        bad_step = diverged_at(chunk, skipping=settings.on_nan == "skip")
        if bad_step is None:
            return
        what = first_to_turn(
            self.task.model,
            self.task.optimizer,
            copy_state(self.last.state),
            self._X,
            self._Y,
            self.task.keys[1],
            first_step=self.last.step,
            bad_step=bad_step,
            batch_size=settings.batch_size,
        )
        raise InputError(diverged_line(self.work_dir, bad_step, what))
