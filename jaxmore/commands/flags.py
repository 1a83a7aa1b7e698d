"""Flags that several commands share."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, cast

from tyro.conf import arg

from jaxmore.errors import InputError
from jaxmore.runs.config import WORDS, default

Words = Annotated[str | None, default(WORDS, "FILE", "-i")]
WordsOfRun = Annotated[str | None, default("those it was trained on", "FILE", "-i")]
WorkDir = Annotated[str, arg(aliases=["-o"], metavar="DIR")]
Json = Annotated[str | None, default("none", "[FILE]")]


def try_json(target: str | None) -> None:
    """Raise InputError, before all the work, if ``--json`` names a file that cannot be written."""
    from jaxmore.files import check_output

    if target and target != "-":
        check_output(Path(target))


def write_json(target: str | None, content: Any) -> None:
    """Write what a command found: to a file, to standard output for "-", nowhere for None."""
    from jaxmore.files import write_output

    text = json.dumps(content, indent=1)
    if target == "-":
        print(text)
    elif target:
        write_output(Path(target), text.encode() + b"\n")


def words_path(input_file: str | None) -> Path | None:
    """Return the path of ``-i``, or None where the flag is not given."""
    return None if input_file is None else Path(input_file)


def as_text(argument: str) -> str:
    """Decode an argument as UTF-8, whatever the locale; what is not UTF-8 stays as it is."""
    try:
        return os.fsencode(argument).decode("utf-8")
    except UnicodeError:
        return argument


def choose_device(platform: str) -> None:
    """Make JAX compute on a platform from now on: ``cpu``, ``gpu``, ``cuda``, ``tpu``, ...

    Raises:
        InputError: JAX does not find it, or already computes on another one.
    """
    import jax

    if not platform:  # to JAX an empty name is the default
        raise InputError("--device must name a platform, such as cpu")
    before = cast(Any, jax.config).jax_platforms
    jax.config.update("jax_platforms", platform)
    try:
        usable = jax.devices()[0] in jax.devices(platform)
    except Exception as error:  # RuntimeError from most platforms, AssertionError from cuda
        jax.config.update("jax_platforms", before)
        reason = str(error).split(" (set JAX_PLATFORMS", maxsplit=1)[0].partition("\n")[0]
        why = f" ({reason})" if reason else ""
        if ":" in platform:
            why = " (a platform has no number here: set CUDA_VISIBLE_DEVICES to choose a GPU)"
        raise InputError(f"--device {platform}: JAX finds no such platform here{why}") from error
    if not usable:
        raise InputError(f"--device {platform}: JAX is at work on {jax.default_backend()} already")


def note_last(work_dir: str) -> None:
    """Say where the last model of a run is, if the folder also holds the best one."""
    from jaxmore.runs.folder import LAST

    last = Path(work_dir) / LAST
    if last.is_dir():
        print(f"note: this is the run's best model; the last one: -o {last}", file=sys.stderr)
