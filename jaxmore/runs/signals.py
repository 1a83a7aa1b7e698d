"""A graceful stop: the first SIGINT or SIGTERM asks for one, the second stops at once."""

import contextlib
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE = 3.0
"""Seconds that the chunk in progress has to finish after a signal."""


class Stopped(Exception):
    """A signal stopped the run; the message says how to go on."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class GracefulStop:
    """A context in which a signal sets ``number``, which the run reads after every chunk.

    Python runs signal handlers between two bytecodes only, and a chunk or a compilation can take
    minutes. A thread therefore reads the signals from a socket. If the run does not stop within
    :data:`GRACE` seconds, the thread calls ``last_resort`` and ends the process; without one it
    waits. At the second signal it ends the process at once. (A socket because Windows can select
    nothing else.)
    """

    def __init__(self, last_resort: Callable[[], str] | None) -> None:
        self.number: int | None = None
        self._last_resort = last_resort
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "GracefulStop":
        if threading.current_thread() is not threading.main_thread():
            return self  # only the main thread may set handlers
        self._read, self._write = socket.socketpair()
        self._write.setblocking(False)
        self._wakeup_before = signal.set_wakeup_fd(self._write.fileno())
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
        self._write.send(b"\0")
        self._watcher.join()
        self._read.close()
        self._write.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.number = number

    def _watch(self) -> None:
        first = self._next(None)
        if first is None:
            return
        _say("stopping; interrupt again to stop at once")
        again = self._next(GRACE if self._last_resort else None)
        if again is None:
            return
        try:
            if again == 0 and self._last_resort:
                _say(self._last_resort())
        except Exception as error:  # no space, no folder: stop all the same
            _say(str(error))
        finally:
            os._exit(128 + first)

    def _next(self, seconds: float | None) -> int | None:
        """Return the next signal, 0 if none came in time, or None if the run is over."""
        while select.select([self._read], [], [], seconds)[0]:
            number = self._read.recv(1)[0]
            if number == 0:
                return None
            if number in SIGNALS:
                return number
        return 0


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody may be reading stderr
        print(f"jaxmore: {line}", file=sys.stderr, flush=True)
