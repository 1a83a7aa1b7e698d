"""Files that appear whole or not at all."""

import errno
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jaxmore.errors import InputError

__all__ = [
    "as_json",
    "check_output",
    "check_regular",
    "read_file",
    "remove",
    "sync",
    "write_atomically",
    "write_output",
    "writing_to",
]


def check_regular(path: Path) -> None:
    """Check that a path is no pipe, which waits, and no device, which may have no end.

    Raises:
        OSError: it is one.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "neither a file nor a folder")


def read_file(path: Path) -> bytes:
    """Read a regular file.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    check_regular(path)
    return path.read_bytes()


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
            with suppress(OSError):  # closing tries to write the rest of the buffer again
                out.close()
            os.unlink(beside)
            raise
    try:
        os.replace(beside, path)  # after closing: Windows renames no open file
    except BaseException:
        os.unlink(beside)
        raise


def check_output(path: Path) -> None:
    """Check that a file can be written at a path that the user names, before the work for it.

    Raises:
        InputError: it cannot.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if path.exists() and not path.is_file():
            return  # a device or a pipe
        with tempfile.TemporaryFile(dir=path.resolve().parent):
            pass
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


def write_output(path: Path, content: bytes) -> None:
    """Write a file at a path that the user names: whole or not at all; into a device or a pipe.

    Raises:
        InputError: it cannot be written.
    """
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(content)
        else:
            write_atomically(path.resolve(), content)  # through a link, not in its place
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


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
        raise InputError(f"cannot write to {folder}: {reason_of(error)}") from error


def reason_of(error: OSError) -> str:
    """Return the reason of an error, and the file where one is named."""
    reason = error.strerror or str(error)
    # Both names of a rename: the first is our temporary file.
    name = error.filename2 or error.filename
    return f"{reason}: {name}" if name is not None else reason
