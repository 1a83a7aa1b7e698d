"""Files that appear whole or not at all."""

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxmore.errors import InputError

__all__ = ["as_json", "remove", "sync", "write_atomically", "writing_to"]


def write_atomically(path: Path, content: bytes) -> None:
    """Put `content` at `path`. After a crash either the old or the new file is there.

    Raises:
        OSError: the file cannot be written. The old file is unchanged, and no other is left.
    """
    # Not tempfile: its files are readable by their owner alone, whatever the umask says.
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with open(beside, "xb") as out:
        try:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        except BaseException:
            out.close()
            os.unlink(beside)
            raise
    try:
        os.replace(beside, path)  # after closing: Windows renames no open file
    except BaseException:
        os.unlink(beside)
        raise


def as_json(value: Any) -> bytes:
    """Encode a value as the text of a JSON file, in UTF-8 whatever it holds.

    A path that is not UTF-8 reaches Python with lone surrogates; they become JSON's own escapes.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def remove(path: Path) -> None:
    """Delete what is at `path`, of whatever kind; follow no link.

    Raises:
        OSError: it cannot be deleted.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file to the disk, or the entries of a folder where the system can."""
    if path.is_dir() and os.name == "nt":  # Windows opens no folder
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def writing_to(folder: Path) -> Generator[None]:
    """Make a folder, check that it can be written to, and run the block that writes there.

    Raises:
        InputError: the folder or a file in it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        yield
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror or error}") from error
