"""What is printed: the width, colours where they are wanted, tables that line up.

Whether a line can be printed never decides whether work is kept.
"""

import io
import os
import shlex
import shutil
import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TextIO, cast

STYLES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "cyan": 36}

failure: OSError | None = None
"""The first error of standard output; what is printed after it is discarded."""


def pasteable(path: Path) -> str:
    """Quote a path so that it can be pasted into a command, even if it begins with a dash."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def width() -> int | None:
    """Return the columns of the terminal; None if standard output is a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


class _KeptOpen(io.TextIOBase):
    """A text stream that ``close`` only flushes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._stream.errors

    def write(self, text: str) -> int:
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def close(self) -> None:
        with suppress(OSError, ValueError):  # nobody reads, or the stream is closed already
            self.flush()

    def __getattr__(self, name: str) -> Any:  # what TextIOBase has not: buffer, reconfigure
        return getattr(self._stream, name)


@contextmanager
def keep_streams() -> Generator[None]:
    """Run a user's code, which may close or replace the standard streams, and keep ours.

    A script that ends with ``sys.stdout.close()`` would otherwise take the report's stream away.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, s and _KeptOpen(s)) for s in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def paint(text: str, style: str, stream: IO[str] | None = None) -> str:
    """Colour a text if a terminal reads the stream and wants colours (``NO_COLOR``, ``TERM``).

    Args:
        text: the text.
        style: a name of :data:`STYLES`.
        stream: where the text is printed; None for standard output.
    """
    out = sys.stdout if stream is None else stream
    if not out.isatty():
        return text
    from rich.console import Console

    console = Console(file=out)
    if console.no_color or console.color_system in (None, "windows"):
        return text
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m"


def pad(text: str, columns: int) -> str:
    """Fill a text with spaces, where an East Asian character takes two columns.

    >>> pad("さくら", 8) + "|"
    'さくら  |'
    """
    from rich.cells import cell_len

    return text + " " * (columns - cell_len(text))


def table(
    rows: Iterable[Sequence[str]], align: str, columns: int | None = None, fold: int = 0
) -> str:
    """Format rows so that their columns line up, two spaces apart.

    Args:
        rows: the cells of each row; missing ones at its end are empty.
        align: for each column "<" for left or ">" for right.
        columns: the width of the terminal; None for no limit.
        fold: the column that is broken into lines where a row would be wider than ``columns``.

    >>> print(table([["さくら", "1"], ["ava", "20"]], "<>"))
    さくら   1
    ava     20
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[*row, *[""] * (len(align) - len(row))] for row in rows]
    widest = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    needed = sum(widest) + 2 * len(widest)
    if columns is not None:
        others = needed - widest[fold]
        needed = min(needed, max(columns, others + 20))  # a column of fewer cannot be read
    grid = Table.grid(padding=(0, 2, 0, 0), pad_edge=True)
    for place, side in enumerate(align):
        grid.add_column(justify="right" if side == ">" else "left", no_wrap=place != fold)
    for row in cells:
        grid.add_row(*map(Text, row))
    console = Console(width=needed, color_system=None, force_jupyter=False, legacy_windows=False)
    with console.capture() as shown:
        console.print(grid)
    return "\n".join(line.rstrip() for line in shown.get().splitlines())


def say(line: str) -> None:
    """Print a line at once. If nobody can read it, discard it and everything after it."""
    try:
        print(line, flush=True)
    except OSError as error:
        discard(error)


@contextmanager
def waiting(what: str) -> Generator[None]:
    """Show what is being done, and for how many seconds, where stderr is a terminal."""
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = TextColumn(f"{what} …"), TimeElapsedColumn()
    off = not console.is_terminal
    with Progress(*columns, console=console, disable=off, transient=True) as bar:
        bar.add_task(what, total=None)
        yield


def discard(error: OSError) -> None:
    """Send the rest of standard output nowhere, the unwritten part of its buffer included."""
    global failure
    failure = failure or error
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
