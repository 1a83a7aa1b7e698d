"""What a run prints. Whether it can be printed never decides whether work is kept."""

import os
import sys

failure: OSError | None = None
"""The first error of standard output; what is printed after it is discarded."""


def say(line: str) -> None:
    """Print a line at once. If nobody can read it, discard it and everything after it."""
    try:
        print(line, flush=True)
    except OSError as error:
        discard(error)


def discard(error: OSError) -> None:
    """Send the rest of standard output nowhere, the unwritten part of its buffer included."""
    global failure
    failure = failure or error
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
