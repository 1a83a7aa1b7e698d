"""Flags that several commands share."""

import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from tyro.conf import arg

from jaxmore.errors import InputError
from jaxmore.runs.config import WORDS, default
from jaxmore.terminal import pasteable

Words = Annotated[str | None, default(WORDS, "FILE", "-i")]
WordsOfRun = Annotated[str | None, default("those that the model was trained on", "FILE", "-i")]
WorkDir = Annotated[str, arg(aliases=["-o"], metavar="DIR")]
MOST = 10_000
"""The most numbers in a list, and the most runs in a sweep."""
Number = TypeVar("Number", int, float)
Json = Annotated[str | None, default("none", "[FILE]")]


def try_json(target: str | None) -> None:
    """Raise InputError early if ``--json`` names a file that cannot be written."""
    from jaxmore.files import check_output

    if target and target != "-":
        check_output(Path(target))


def write_json(target: str | None, content: Any) -> None:
    """Write the result of a command to a file; to standard output for "-", nowhere for None.

    NaN and infinity become null, since JSON has neither.
    """
    from jaxmore.files import write_output

    if target is None:
        return
    text = json.dumps(_finite(content), indent=1, allow_nan=False)
    if target == "-":
        print(text)
    else:
        write_output(Path(target), text.encode() + b"\n")


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def words_path(input_file: str | None) -> Path | None:
    """Return the path of ``-i``, or None without the flag."""
    return None if input_file is None else Path(input_file)


def as_text(argument: str) -> str:
    """Decode an argument as UTF-8 in any locale; leave it unchanged if it is not UTF-8."""
    try:
        return os.fsencode(argument).decode("utf-8")
    except UnicodeError:
        return argument


def choose_device(platform: str) -> None:
    """Select the platform that JAX computes on: ``cpu``, ``gpu``, ``cuda``, ``tpu``, ...

    Raises:
        InputError: JAX does not find it, or has already started on another one.
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
    """Print where the last model of a run is, if the folder has both the best and the last."""
    from jaxmore.runs.folder import LAST

    last = Path(work_dir) / LAST
    if last.is_dir():
        print(
            f"note: this is the run's best model; the last one: -o {pasteable(last)}",
            file=sys.stderr,
        )


def parse_list(flag: str, text: str | None, kind: Callable[[str], Number]) -> list[Number | None]:
    """Parse a list of numbers ``a,b,c``; integers may also be ranges ``a:b``, a to b − 1.

    Args:
        flag: the name of the flag, for messages.
        text: the list; None stands for the default and gives [None].
        kind: ``int`` or ``float``.

    Raises:
        InputError: a part is not a number, a range is empty, or a number occurs twice.

    >>> parse_list("seed", "0:3,7", int)
    [0, 1, 2, 7]
    """
    if text is None:
        return [None]
    name, numbers = f"--{flag.replace('_', '-')}", list[Number | None]()
    for part in text.split(","):
        first, colon, end = part.partition(":")
        try:
            if colon and kind is int:  # cut, so that a huge range cannot fill the memory
                its = [kind(str(i)) for i in range(int(first), int(end))[: MOST + 1]]
            else:
                its = [kind(part)]
        except ValueError:
            raise InputError(f"{name} {text!r}: {part!r} is not a number or a range") from None
        if not its:
            raise InputError(f"{name} {text!r}: the range {part} is empty")
        numbers += its
    if len(set(numbers)) < len(numbers):
        raise InputError(f"{name} {text!r} holds a number twice")
    return numbers
