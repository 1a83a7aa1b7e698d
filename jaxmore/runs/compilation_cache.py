"""JAX's persistent compilation cache, set up by the commands so that a second run starts at once.

It lies in the user's cache folder. Importing jaxmore does not set it up.
"""

import contextlib
import hashlib
import os
import re
import shutil
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jaxmore.runs.machine import cpu, n_threads

SWITCHES = ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE")
"""JAX's environment variables: the first names another folder, the second turns the cache off."""
LARGEST = 1_000_000_000
"""The limit on the bytes of all caches, for every machine and version. Beyond it they are deleted.
(JAX's own limit needs another package, and a lock for each program that is read.)"""


def use_compilation_cache() -> None:
    """Make JAX keep what it compiles for the next process. Call it before JAX is imported.

    A folder of the user's own, in ``JAX_COMPILATION_CACHE_DIR``, is used in the same way. Nothing
    is set if the user turns the cache off, or if our folder cannot be written to.
    """
    if os.environ.get("JAX_ENABLE_COMPILATION_CACHE", "1").lower() in _FALSE:
        return
    named = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    folder = Path(named) if named else _our_folder()
    try:
        str(folder).encode()
    except UnicodeEncodeError:  # XLA stops at such a path
        folder = None
    if folder is None:
        os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    # By default JAX keeps no program that compiled in less than a second, as most of ours do.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    # Otherwise XLA warns of SIGILL for each program that it loads, since it takes its own
    # preferences (prefer-no-gather) for features that the CPU lacks. Errors still reach Python. "1"
    # is JAX's own setting, which its child processes inherit.
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    if not hasattr(warnings.showwarning, "repairs"):
        _repair(folder, all_entries=not named)


_FALSE = ("0", "n", "no", "f", "false", "off")


def _our_folder() -> Path | None:
    """Make the folder in the user's cache for this machine; None if it cannot be written to."""
    import pooch

    every = pooch.os_cache("jaxmore") / "compiled"
    folder = every / _this_machine()
    with contextlib.suppress(OSError):  # another process may add and remove meanwhile
        if sum(path.stat().st_size for path in every.rglob("*")) > LARGEST:
            for machine in every.iterdir():
                shutil.rmtree(machine, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder if os.access(folder, os.W_OK) else None


def _this_machine() -> str:
    """Name what a program is compiled for and JAX's own key leaves out.

    Machines with different CPUs may share a home folder.
    """
    digest = hashlib.sha256(cpu().encode()).hexdigest()[:12]
    return f"jax-{version('jax')}-{digest}-{n_threads()}-threads"


def _repair(folder: Path, *, all_entries: bool) -> None:
    """Delete what JAX warns about instead of showing the warning.

    JAX recompiles what it cannot read, but never replaces an entry that a kill or a full disk
    truncated, so the warning would come back with every run. A folder that cannot be written to is
    done without.

    Args:
        folder: the cache.
        all_entries: delete the whole folder; else the program's entries alone, since the folder
            belongs to the user.
    """
    show = warnings.showwarning

    def show_or_repair(message: Warning | str, *rest: Any, **more: Any) -> None:
        program = re.search(r"persistent compilation cache entry for '([\w.<>-]+)'", str(message))
        if program is None and "compilation cache" not in str(message):
            show(message, *rest, **more)
        elif all_entries:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
        elif program is not None:
            with contextlib.suppress(OSError):
                for entry in folder.glob(f"{program[1]}-*"):
                    entry.unlink()

    show_or_repair.repairs = folder  # pyright: ignore[reportFunctionMemberAccess]
    warnings.showwarning = show_or_repair
