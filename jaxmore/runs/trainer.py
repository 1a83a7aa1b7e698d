"""The trainer: a run's steps, what is evaluated and sampled between them, and what is saved."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmore.errors import InputError
from jaxmore.runs.checkpoints import latest_checkpoint
from jaxmore.runs.folder import METRICS
from jaxmore.runs.inference import print_words, sample
from jaxmore.runs.metrics import Metrics, Scalars
from jaxmore.runs.prepared import PreparedRun
from jaxmore.runs.progress import with_progress
from jaxmore.runs.saver import Saver
from jaxmore.runs.signals import GracefulStop, Stopped
from jaxmore.runs.trained import CUSTOM, BestModel, Trained, held_out
from jaxmore.terminal import paint, pasteable, say
from jaxmore.training.divergence import diverged_at, first_non_finite
from jaxmore.training.loop import Chunk, TrainState, gradient_to_data, train
from jaxmore.training.streaming import batches, draw_indices, train_streamed


class BestLoss(NamedTuple):
    """The best evaluation of a run so far; every checkpoint holds it."""

    step: int = 0
    loss: float = math.inf
    since: int = 0
    """The number of evaluations after it, none of which were better."""

    def update(self, step: int, loss: float) -> "BestLoss":
        """Return the best after one more evaluation."""
        return BestLoss(step, loss) if loss < self.loss else self._replace(since=self.since + 1)

    @classmethod
    def of(cls, record: dict[str, Any]) -> "BestLoss":
        """Read it from the record of a checkpoint.

        Raises:
            InputError: the record holds none.
        """
        try:
            step, loss, since = record["best"]
            return cls(int(step), float(loss), int(since))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"the checkpoint tells of no evaluations: {error!r}") from error


class RunState(NamedTuple):
    """What a checkpoint holds. Its arrays are never donated, and lie where those of a step do."""

    step: int
    state: TrainState
    best: BestLoss


class Files(NamedTuple):
    """What a run, or the first of its processes, writes in its locked work folder."""

    work_dir: Path
    metrics: Metrics
    scalars: Scalars | None


class Trainer:
    """Trains a prepared run.

    Each chunk consumes the state that it begins with, so :attr:`last` holds a copy. The copy is
    what is saved, and where the search for the first non-finite variable begins.
    """

    def __init__(
        self,
        run: PreparedRun,
        start: RunState,
        files: Files | None,
        saver: Saver | None = None,
        *,
        of_first: Callable[[int], int] = int,
        quiet: bool,
        progress: bool = True,
    ) -> None:
        """Begin at a state.

        Args:
            run: the prepared run.
            start: the state.
            files: None for a run in memory, and in a process that is not the first.
            saver: None for a run in memory. Both are the caller's to close.
            of_first: returns the number that the first process has: when to save, when to stop.
            quiet: print nothing.
            progress: show a progress bar.
        """
        self.run, self.start, self.last = run, start, start
        self.saver, self._of_first = saver, of_first
        self.files, self.quiet, self.progress = files, quiet, progress
        own = run.model if run.type == CUSTOM else None
        self.best_model = BestModel(files and files.work_dir, own)
        self._evaluated: Trained | None = None
        if run.packed is None:
            self._X, self._Y = run.devices.place(run.data["train"])
            self._batch_key = run.devices.place(run.keys[1])
        if files and files.metrics.last_step != start.step:
            print(f"note: {METRICS} has lost lines before step {start.step:,}", file=sys.stderr)

    def train(self, stop: GracefulStop | None = None) -> Trained:
        """Train to the last step, or until patience runs out, and return the last model.

        Raises:
            InputError: the run diverged, or a checkpoint could not be written.
            Stopped: a signal arrived.
        """
        began = time.perf_counter()
        for chunk in self._chunks():
            self._check_divergence(chunk)
            self._after(chunk)
            if self.saver and self._of_first(self.saver.due):
                self._save()
            self._stop_if_asked(stop)
            if self._out_of_patience:
                break
        seconds = time.perf_counter() - began
        n_steps = self.last.step - self.start.step
        if n_steps:
            self._save()
        if self._out_of_patience:
            step, loss, since = self.last.best
            self._say(
                f"stopped early at step {self.last.step:,}: {since} evaluations were no better "
                f"than that of step {step:,}, {loss:.4f}"
            )
        self._say(f"{n_steps:,} steps in {seconds:.1f} s, compilation included")
        trained = self._evaluated
        if trained is None or trained.record["training"]["step"] != self.last.step:
            step, state, _ = self.last
            params = self.run.devices.fetch(self.run.devices.begin(state.params))
            trained = self.run.evaluated(self.run.trained(step, params))
        self._stop_if_asked(stop)
        losses = trained.record["losses"]
        if self.saver:
            self.saver.wait()
        if self.files:
            self.files.metrics.finish(self.last.step, losses)
        line = "loss: " + ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
        self._say(paint(line, "bold"))
        return trained

    def save_and_stop(self) -> str:
        """Save the last state, and return a line that says how to resume from it."""
        assert self.saver  # a run in memory is not stopped by a signal
        self._save()
        self.saver.wait()
        command = f"jaxmore train --resume -o {pasteable(self.saver.work_dir)}"
        return f"stopped after {self.last.step:,} steps; to go on: {command}"

    def _chunks(self) -> Iterator[Chunk]:
        run, cadence, settings = self.run, self.run.cadence, self.run.settings
        steps: dict[str, Any] = {
            "batch_size": settings.batch_size,
            "max_steps": self.start.step if self._out_of_patience else settings.max_steps,
            "chunk_size": cadence.chunk_size,
            "first_step": self.start.step,
            "pauses": [every for every in (cadence.eval_every, cadence.sample_every) if every],
        }
        begin = run.model, run.optimizer, run.devices.begin(self.start.state)
        if run.packed is None:
            data = self._X, self._Y, self._batch_key
            chunks = train(*begin, *data, **steps, run_chunk=run.devices.run_chunk)
        else:
            chunks = train_streamed(*begin, run.packed, run.keys[1], **steps, devices=run.devices)
        if not self.progress:
            return chunks
        return with_progress(chunks, self.start.step, settings.max_steps)

    def _after(self, chunk: Chunk) -> None:
        """Evaluate and sample where it is due, write the metrics, and keep a copy of the state."""
        run, cadence, best, losses = self.run, self.run.cadence, self.last.best, None
        evaluating, sampling = (
            every > 0 and chunk.step % every == 0
            for every in (cadence.eval_every, cadence.sample_every)
        )
        if evaluating or sampling:
            trained = run.trained(chunk.step, run.devices.fetch(chunk.state.params))
            if evaluating:
                trained = self._evaluated = run.evaluated(trained)
                losses = trained.record["losses"]
                best = best.update(chunk.step, losses[held_out(losses)])
                line = " ".join(f"{name} loss: {loss:.4f}" for name, loss in losses.items())
                self._say(f"step {chunk.step:,} {line}")
                self.best_model.update(trained)
            if sampling and not self.quiet:
                print_words(sample(trained, 10, seed=run.settings.seed), run.corpus.splits)
        if self.files:
            self.files.metrics.add(chunk, losses, self._gradients(chunk))
            if self.files.scalars:
                self.files.scalars.add(chunk, losses)
        self.last = RunState(chunk.step, run.devices.snapshot(chunk.state), best)

    def _gradients(self, chunk: Chunk) -> dict[str, float] | None:
        """Return the gradient-to-data ratios of the next step if the run records them."""
        if not self.run.cadence.diagnose:
            return None
        ratios = gradient_to_data(
            self.run.model,
            chunk.state.params,
            *self._read_by(chunk.step, chunk.step + 1),
            jnp.asarray(chunk.step),
            batch_size=self.run.settings.batch_size,
            gradient=self.run.devices.gradient,
        )
        # At once: a float of each would wait for the device as often as there are parameters.
        return {path: float(ratio) for path, ratio in jax.device_get(ratios).items()}

    def _read_by(self, first: int, end: int) -> tuple[Any, Any, Any]:
        """Return what the steps first to end − 1 read: X, Y and the key of the batches.

        Of a pack X and Y are the batches themselves, and the key is None.
        """
        run = self.run
        if run.packed is None:
            return self._X, self._Y, self._batch_key
        size, n = run.settings.batch_size, len(run.packed)
        indices = np.asarray(draw_indices(run.keys[1], first, end - first, size, n))
        return *run.devices.place(batches(run.packed, indices)), None

    def _save(self) -> None:
        if self.saver:
            step, state, best = self.last
            self.saver.save(step, state, self.run.record | {"best": best})

    @property
    def _out_of_patience(self) -> bool:
        patience = self.run.cadence.patience
        return patience is not None and self.last.best.since >= patience

    def _stop_if_asked(self, stop: GracefulStop | None) -> None:
        number = self._of_first(stop.number or 0 if stop else 0) if self.saver else 0
        if number:
            line = self.save_and_stop()
            self._of_first(0)  # no process ends before all have saved
            raise Stopped(number, line)

    def _say(self, line: str) -> None:
        if not self.quiet:
            say(line)

    def _check_divergence(self, chunk: Chunk) -> None:
        settings = self.run.settings
        skipping = settings.on_nan == "skip"
        bad_step = diverged_at(chunk, skipping=skipping, devices=self.run.devices)
        if bad_step is None:
            return
        variable = first_non_finite(
            self.run.model,
            self.run.optimizer,
            self.run.devices.begin(self.last.state),
            *self._read_by(self.last.step, bad_step + 1),
            first_step=self.last.step,
            bad_step=bad_step,
            batch_size=settings.batch_size,
            devices=self.run.devices,
        )
        checkpoint = latest_checkpoint(self.files.work_dir)[0] if self.files else None
        kept = "no checkpoint yet" if checkpoint is None else f"{checkpoint.path} is kept"
        raise InputError(
            f"the run diverged at step {bad_step:,}, first to turn NaN or infinite: {variable} "
            f"({kept}): lower --learning-rate"
        )
