"""Files that appear whole or not at all."""

import os
import secrets
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from jaxmore.errors import InputError

__all__ = ["write_atomically", "writing_to"]


def write_atomically(path: Path, content: bytes) -> None:
    """Put `content` at `path`: after a crash the old file is there, or the new one.

    Raises:
        OSError: it cannot be written. Then the old file is as it was, and no other is left.
    """
    # Not tempfile: its files are the owner's alone, whatever the umask says.
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with open(beside, "xb") as out:
        try:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
            os.replace(beside, path)
        except BaseException:
            os.unlink(beside)
            raise


@contextmanager
def writing_to(folder: Path) -> Generator[None]:
    """Make a folder and try to write there, then do what writes to it.

    Raises:
        InputError: one of them failed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        yield
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror or error}") from error
