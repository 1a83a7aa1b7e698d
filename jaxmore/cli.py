"""The ``jaxmore`` command: parsing, errors and exit codes. The commands are in ``commands/``."""

import contextlib
import difflib
import io
import logging
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from itertools import groupby
from typing import get_args

import tyro

from jaxmore import __version__
from jaxmore.commands.check import Check
from jaxmore.commands.convert import Convert
from jaxmore.commands.data import Data
from jaxmore.commands.evaluate import Evaluate
from jaxmore.commands.exercise import Exercise
from jaxmore.commands.explore import Explore
from jaxmore.commands.find_lr import FindLr
from jaxmore.commands.flags import choose_device
from jaxmore.commands.ngram import Ngram
from jaxmore.commands.replay import Replay
from jaxmore.commands.sample import Sample
from jaxmore.commands.sweep import Sweep
from jaxmore.commands.trace import Trace
from jaxmore.commands.train import Train
from jaxmore.errors import InputError
from jaxmore.runs import output
from jaxmore.runs.compilation_cache import use_compilation_cache
from jaxmore.runs.signals import Stopped

Command = (
    Train
    | Sample
    | Evaluate
    | FindLr
    | Sweep
    | Ngram
    | Data
    | Trace
    | Check
    | Exercise
    | Explore
    | Replay
    | Convert
)

COMMANDS = {re.sub(r"\B(?=[A-Z])", "-", c.__name__).lower(): c for c in get_args(Command)}
OF_OTHERS = {
    "--sample-only": "jaxmore sample samples from a trained model",
    "--num-workers": "jaxmore needs no worker processes: leave it out",
    "--lr": "perhaps --learning-rate",
    "--epochs": "perhaps --max-steps",
    "--max-iters": "perhaps --max-steps",
}
"""Flags of makemore.py and of other trainers that jaxmore does not have, and what to do instead."""


def main(args: Sequence[str] | None = None) -> None:
    """Run ``jaxmore``; a user's mistake is one line on stderr and exit code 2."""
    arguments = list(sys.argv[1:] if args is None else args)
    try:
        _prepare_streams()
        _run(arguments)
        print(end="", flush=True)  # an error of the last output shows here
        if output.failure and not isinstance(output.failure, BrokenPipeError):
            raise InputError(f"cannot write to standard output: {output.failure.strerror}")
    except InputError as error:
        _exit(str(error), 2)
    except MemoryError as error:
        _exit(f"more memory is needed than there is: {error}", 2)
    except Stopped as stop:
        if args is not None:  # called from Python, which goes on
            _exit(str(stop), stop.exit_code)
        with contextlib.suppress(OSError):  # nobody may be reading
            print(f"jaxmore: {stop}", file=sys.stderr, flush=True)
            sys.stdout.flush()
        # Everything is saved. A normal exit would first tear JAX down, which can take seconds.
        os._exit(stop.exit_code)
    except BrokenPipeError as error:  # `jaxmore check --dump | head`: nobody reads on
        output.discard(error)
        raise SystemExit(141) from None
    except RuntimeError as error:
        line = str(error).partition("\n")[0]
        if not line.startswith("Unable to initialize backend"):
            raise
        _exit(f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')}: {line}", 2)
    except OSError as error:
        if error.filename is not None:
            raise
        output.discard(error)
        _exit(f"cannot write to standard output: {error.strerror}", 2)
    except KeyboardInterrupt:
        _exit("interrupted", 130)


def _run(arguments: list[str]) -> None:
    if arguments == ["--version"]:
        print(f"jaxmore {__version__}")
        return
    command = _parse(arguments)
    use_compilation_cache()
    # Figures go to files, whatever backend the shell names; matplotlib warns of its own cache.
    os.environ["MPLBACKEND"] = "agg"
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    # JAX puts the paths of sources into its programs, which lone surrogates cannot be part of.
    os.environ.setdefault("JAX_HLO_SOURCE_FILE_CANONICALIZATION_REGEX", r"[\ud800-\udfff]")
    if isinstance(command, Train) and command.resume:
        from jaxmore.runs.folder import stored_config

        command = _parse(arguments, default=stored_config(command))
    device = getattr(command, "device", None)
    if device is not None:
        choose_device(device)
    command.run()


def _prepare_streams() -> None:
    """Escape what a terminal cannot show, and refuse to work for a closed standard output.

    A closed standard error goes nowhere: ``print(file=None)`` would write to standard output, and
    the next file that is opened would take its descriptor.
    """
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        raise InputError("standard output is closed")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _exit(line: str, code: int) -> None:
    with contextlib.suppress(OSError):  # nobody may be reading
        print(f"jaxmore: {line}", file=sys.stderr, flush=True)
    raise SystemExit(code) from None


def _parse(args: list[str], default: Command | None = None) -> Command:
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return _parse_quietly(args, default)
    except SystemExit as stop:
        if stop.code != 2:
            raise
        raise InputError(_complaint(args, complaint.getvalue())) from None


def _parse_quietly(args: list[str], default: Command | None) -> Command:
    # Not default=None: tyro would take it for a command.
    parse = partial(
        tyro.cli,
        Command,
        prog="jaxmore",
        description=f"makemore in JAX with hand-derived gradients, version {__version__}",
        args=args,
        config=(tyro.conf.OmitSubcommandPrefixes,),
    )
    return parse() if default is None else parse(default=default)


def _paragraphs(box: str) -> list[str]:
    """Split tyro's box, below its title, at the rules; each paragraph becomes one line."""
    lines = [line.strip(" │") for line in box.splitlines()[1:]]
    groups = groupby(lines, lambda line: not line.strip("─-"))
    return [" ".join(group).strip() for is_rule, group in groups if not is_rule]


def _complaint(args: list[str], box: str) -> str:
    """Say in one line what is wrong with the arguments, and what may have been meant."""
    first, *others = _paragraphs(box)
    line = re.sub(r"^Error parsing \w+: ", "", first)
    line = re.sub(r" \(applied to [^)]*\)", "", line)
    hint = _hint(args, line.partition(": ")[2])
    if not hint:
        meant = next((o for o in others if o.startswith("Perhaps you meant")), "")
        flag = re.search(r"--[\w-]+", meant)
        hint = f"perhaps {flag[0]}" if flag and flag[0] not in args else ""
    return f"{line}: {hint}" if hint else line


def _hint(args: list[str], strays: str) -> str:
    """Say what to write instead of the stray arguments; "" if nothing is known about them."""
    command = args[0] if args else ""
    if command not in COMMANDS:
        near = difflib.get_close_matches(command, COMMANDS, n=1)
        return f"perhaps {near[0]}" if near else f"name a command: {', '.join(COMMANDS)}"
    for flag in (flag.replace("_", "-") for flag in re.findall(r"--[\w-]+", strays)):
        if flag in OF_OTHERS:
            return OF_OTHERS[flag]
        name = flag.removeprefix("--").replace("-", "_")
        owners = [
            owner
            for owner, its in COMMANDS.items()
            if owner != command and name in {field.name for field in fields(its)}
        ]
        if owners:
            return f"{flag} is a flag of {', '.join(owners)}"
    if not args[-1].startswith("-") and "--" not in strays and os.path.exists(strays):
        return "-o names a work folder" if os.path.isdir(strays) else "-i names a file of words"
    return ""
