"""Files that appear whole or not at all."""

import os
import secrets
from pathlib import Path

__all__ = ["write_atomically"]


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
