"""A folder's seal: the SHA-256 of every file in it, all of it flushed to the disk.

The text is that of ``sha256sum``, so ``sha256sum -c manifest.sha256`` checks a folder as well.
Nothing here follows a name that a file holds: the seal is computed anew and compared.
"""

import hashlib
import os
import stat
from pathlib import Path

MANIFEST = "manifest.sha256"


def seal(folder: Path) -> None:
    """Write the manifest of a finished folder and bring every file and folder to the disk."""
    (folder / MANIFEST).write_text(_manifest(folder), encoding="utf-8")
    for path in (*folder.rglob("*"), folder):
        sync(path)


def damage(folder: Path) -> str | None:
    """What is wrong with a sealed folder, in a few words; None: it is whole."""
    try:
        sealed = (folder / MANIFEST).read_bytes()
        found = _manifest(folder).encode()
    except (OSError, ValueError) as error:
        return (error.strerror if isinstance(error, OSError) else str(error)) or "unreadable"
    if sealed == found:
        return None
    differing = set(sealed.splitlines()) ^ set(found.splitlines())
    names = sorted({line.split(b"  ")[-1].decode("utf-8", "replace") for line in differing})
    return f"{names[0]!r} is not as it was sealed" if names else f"{MANIFEST!r} was cut"


def sync(path: Path) -> None:
    """Bring a file or a folder (its entries, not their contents) to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _manifest(folder: Path) -> str:
    lines: list[str] = []
    for path in sorted(folder.rglob("*")):
        name, mode = path.relative_to(folder).as_posix(), path.lstat().st_mode
        if stat.S_ISREG(mode) and name != MANIFEST:
            with open(path, "rb") as file:
                lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n")
        elif not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise ValueError(f"{name!r} is neither a file nor a folder")
    return "".join(lines)
