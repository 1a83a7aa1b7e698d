"""Asynchronous saving: a thread that writes one checkpoint at a time beside the computation."""

import logging
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np

from jaxmore.errors import InputError
from jaxmore.runs.checkpoints import write_checkpoint


class Saver:
    """Writes the checkpoints of a run in a thread of its own.

    As a context manager it waits on exit for the checkpoint that is being written.
    """

    def __init__(
        self,
        work_dir: Path,
        every: float,
        before: Callable[[], None] = lambda: None,
        saved: int | None = None,
    ) -> None:
        """Save at most every ``every`` seconds, and never the step that is ``saved`` already.

        ``before`` is called ahead of each checkpoint.
        """
        self.work_dir, self._every = work_dir, every
        self._before = before
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._pending: Future[None] | None = None
        self._step = saved
        # Import Orbax while the training compiles, so that a signal need not wait for it.
        self._thread.submit(import_module, "orbax.checkpoint")
        # monotonic: setting the clock changes nothing
        self._last = time.monotonic()

    def __enter__(self) -> "Saver":
        self._hook = sys.unraisablehook
        sys.unraisablehook = self._show_others
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # If a process is gone, the others would wait for it in Orbax.
        all_there = error is None or isinstance(error, InputError)
        self._thread.shutdown(wait=all_there or jax.process_count() == 1)
        if error is None:  # else tensorstore's threads may still fail
            sys.unraisablehook = self._hook

    def _show_others(self, unraisable: Any) -> None:
        """Show what could not be raised, except for what a failed save leaves behind.

        Each array that tensorstore gives up after the first tells an event loop that is closed by
        then, and the traceback of that would follow the one line about the error.
        """
        if str(unraisable.exc_value) != "Event loop is closed":
            self._hook(unraisable)

    @property
    def due(self) -> bool:
        """Whether the last checkpoint is written, and old enough to save another."""
        written = self._pending is None or self._pending.done()
        return written and time.monotonic() - self._last >= self._every

    def save(self, step: int, state: Any, record: dict[str, Any]) -> None:
        """Begin to save a state and its record. The state may not be donated afterwards.

        Of several processes, each saves the same steps in the same order.

        Raises:
            InputError: the checkpoint before this one could not be written.
        """
        self.wait()
        self._last = time.monotonic()
        if step == self._step:
            return
        self._step = step
        self._pending = self._thread.submit(self._write, step, state, record)

    def wait(self) -> None:
        """Wait until every checkpoint is on the disk.

        Raises:
            InputError: one could not be written.
        """
        if self._pending is not None:
            self._pending.result()

    def _write(self, step: int, state: Any, record: dict[str, Any]) -> None:
        try:
            self._before()
            logging.getLogger("absl").setLevel(logging.CRITICAL)  # the error below says it once
            if jax.process_count() == 1:
                state = jax.tree.map(np.array, state)
            write_checkpoint(self.work_dir, step, state, record)
        except Exception as error:  # Orbax wraps errors of the system in kinds of its own
            if isinstance(error, jax.errors.JaxRuntimeError) and jax.process_count() > 1:
                raise  # another process is gone
            reason = error.strerror if isinstance(error, OSError) else None
            reason = reason or next(iter(str(error).splitlines()), type(error).__name__)
            raise InputError(
                f"cannot save the checkpoint of step {step:,}: {reason}; those before it are intact"
            ) from error
