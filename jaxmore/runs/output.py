"""What a run prints. Whether it can be printed never decides whether work is kept."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager

failure: OSError | None = None
"""The first error of standard output; what is printed after it is discarded."""


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
