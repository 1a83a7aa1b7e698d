"""A graceful stop: the first SIGINT or SIGTERM asks, the second does not wait."""

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE = 3.0
"""Seconds that the chunk in progress has to finish."""


class Stopped(Exception):
    """A signal stopped the run; the message says how to go on."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class GracefulStop:
    """Within it, a signal sets ``number``; the run looks at it after every chunk.

    Python runs signal handlers between two bytecodes only, and a chunk or a compilation may take
    minutes. So a thread reads the signals from a pipe: it calls ``last_resort`` when a signal
    was not honoured within :data:`GRACE` seconds, and ends the process; at the second signal it
    ends the process at once.
    """

    def __init__(self, last_resort: Callable[[], str]) -> None:
        self.number: int | None = None
        self._last_resort = last_resort
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "GracefulStop":
        if threading.current_thread() is not threading.main_thread():
            return self  # only the main thread may set handlers
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._wakeup_before = signal.set_wakeup_fd(self._write)
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        self._watcher = threading.Thread(target=self._watch, name="signals", daemon=True)
        self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._before:
            return
        for number, handler in self._before.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]
        signal.set_wakeup_fd(self._wakeup_before)
        os.write(self._write, b"\0")
        self._watcher.join()
        os.close(self._read)
        os.close(self._write)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.number = number

    def _watch(self) -> None:
        first = self._next(None)
        if first is None:
            return
        _say("stopping; once more to stop at once")
        again = self._next(GRACE)
        if again is None:
            return
        try:
            if again == 0:
                _say(self._last_resort())
        except Exception as error:  # no room, no folder: it ends all the same
            _say(str(error))
        finally:
            os._exit(128 + first)

    def _next(self, seconds: float | None) -> int | None:
        """The next signal; 0: none came in time; None: the run is over."""
        while select.select([self._read], [], [], seconds)[0]:
            number = os.read(self._read, 1)[0]
            if number == 0:
                return None
            if number in SIGNALS:
                return number
        return 0


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # whoever read stderr may be gone
        print(f"jaxmore: {line}", file=sys.stderr, flush=True)
