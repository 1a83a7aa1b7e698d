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
from functools import partial, reduce
from itertools import groupby
from operator import or_
from typing import Any

from jaxmore import __version__, terminal
from jaxmore.commands import COMMANDS, command
from jaxmore.errors import InputError
from jaxmore.runs.signals import Stopped
from jaxmore.terminal import paint

WELCOME = """\
jaxmore {version}: makemore in JAX, with every gradient derived by hand and proven.

  {train}      train on the names that come with jaxmore, into the folder out
  {sample}     make more names with what was trained
  {explore}    write a page that shows every number of a network and its gradient

All commands: jaxmore --help. The flags of one: jaxmore train --help."""
"""What ``jaxmore`` alone prints."""

HELP = """\
usage: jaxmore COMMAND [FLAGS]

makemore in JAX with hand-derived gradients, version {version}

{head}
{commands}

{options}
  -h, --help             show this; after a command, its flags
  --version              show the version
  --tyro-print-completion {{bash,zsh,tcsh}}
                         print the completion script of a shell"""

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
        if terminal.failure and not isinstance(terminal.failure, BrokenPipeError):
            raise InputError(f"cannot write to standard output: {terminal.failure.strerror}")
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
        terminal.discard(error)
        raise SystemExit(141) from None
    except RuntimeError as error:
        line = str(error).partition("\n")[0]
        if not line.startswith("Unable to initialize backend"):
            raise
        _exit(f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')}: {line}", 2)
    except OSError as error:
        if error.filename is not None:
            raise
        terminal.discard(error)
        _exit(f"cannot write to standard output: {error.strerror}", 2)
    except KeyboardInterrupt:
        _exit("interrupted", 130)


def _run(arguments: list[str]) -> None:
    if not arguments:
        shown = {name: paint(f"jaxmore {name}", "bold") for name in ("train", "sample", "explore")}
        print(WELCOME.format(version=__version__, **shown))
        return
    if arguments == ["--version"]:
        print(f"jaxmore {__version__}")
        return
    if arguments in (["-h"], ["--help"]):
        print(_help())
        return
    todo = _parse(arguments)
    from jaxmore.runs.compilation_cache import use_compilation_cache

    use_compilation_cache()
    # Figures go to files, whatever backend the shell names; matplotlib warns of its own cache.
    os.environ["MPLBACKEND"] = "agg"
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    # JAX puts the paths of sources into its programs, which lone surrogates cannot be part of.
    os.environ.setdefault("JAX_HLO_SOURCE_FILE_CANONICALIZATION_REGEX", r"[\ud800-\udfff]")
    if arguments[0] == "train" and todo.resume:
        from jaxmore.runs.folder import stored_config

        todo = _parse(arguments, default=stored_config(todo))
    if arguments[0] == "train":
        _begin_devices(todo)
    device = getattr(todo, "device", None)
    if device is not None:
        from jaxmore.commands.flags import choose_device

        choose_device(device)
    todo.run()


def _begin_devices(train: Any) -> None:
    """Simulate devices and join processes, which must be before JAX starts."""
    if train.mesh is not None and train.cpu_devices is not None:
        from jaxmore.training.mesh import simulate_devices

        simulate_devices(train.cpu_devices)
    if (train.coordinator, train.num_processes, train.process_id) != (None, None, None):
        from jaxmore.runs.processes import join

        join(train)


def _help() -> str:
    lines = [
        f"  {paint(name, 'cyan')}{' ' * (11 - len(name))}{does}" for name, does in COMMANDS.items()
    ]
    return HELP.format(
        version=__version__,
        head=paint("commands:", "bold"),
        commands="\n".join(lines),
        options=paint("options:", "bold"),
    )


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
    from jaxmore.data import printable

    line = printable(line)
    with contextlib.suppress(OSError):  # nobody may be reading
        print(f"{paint('jaxmore:', 'red', sys.stderr)} {line}", file=sys.stderr, flush=True)
    raise SystemExit(code) from None


def _parse(args: list[str], default: Any = None) -> Any:
    """Return the command that the arguments call for, with its flags."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return _parse_quietly(_with_json_targets(args), default)
    except SystemExit as stop:
        if stop.code != 2:
            raise
        raise InputError(_complaint(args, complaint.getvalue())) from None


def _parse_quietly(args: list[str], default: Any) -> Any:
    import tyro  # after --help and --version, which do not need it

    # Not default=None: tyro would take it for a command.
    parse = partial(tyro.cli, config=(tyro.conf.OmitSubcommandPrefixes,))
    if args[0] in COMMANDS:
        parse = partial(parse, command(args[0]), prog=f"jaxmore {args[0]}", args=args[1:])
    else:  # completion scripts know every command
        parse = partial(parse, reduce(or_, map(command, COMMANDS)), prog="jaxmore", args=args)
    return parse() if default is None else parse(default=default)


def _with_json_targets(args: list[str]) -> list[str]:
    """Let ``--json`` without a file stand for ``--json -``, standard output."""
    bare = [
        arg == "--json" and (not after or (after[0][:1] == "-" and after[0] != "-"))
        for arg, after in ((arg, args[i + 1 : i + 2]) for i, arg in enumerate(args))
    ]
    return [
        part
        for arg, alone in zip(args, bare, strict=True)
        for part in ([arg, "-"] if alone else [arg])
    ]


def _first_paragraph(box: str) -> str:
    """Return what stands in tyro's box below its title and above its first rule, as one line."""
    lines = [line.strip(" │") for line in box.splitlines()[1:]]
    groups = groupby(lines, lambda line: not line.strip("─-"))
    return next((" ".join(group).strip() for is_rule, group in groups if not is_rule), "")


def _complaint(args: list[str], box: str) -> str:
    """Say in one line what is wrong with the arguments, and what may have been meant."""
    line = re.sub(r"^Error parsing \w+: ", "", _first_paragraph(box))
    line = re.sub(r" \(applied to [^)]*\)", "", line)
    hint = _hint(args, line.partition(": ")[2])
    return f"{line}: {hint}" if hint else line


def _hint(args: list[str], strays: str) -> str:
    """Say what to write instead of the stray arguments; "" if nothing is known about them."""
    given = args[0]
    if given not in COMMANDS:
        near = difflib.get_close_matches(given, COMMANDS, n=1)
        return f"perhaps {near[0]}" if near else f"name a command: {', '.join(COMMANDS)}"
    for flag in (flag.replace("_", "-") for flag in re.findall(r"--[\w-]+", strays)):
        if flag in OF_OTHERS:
            return OF_OTHERS[flag]
        owners = [owner for owner in COMMANDS if owner != given and flag in _flags(owner)]
        if owners:
            return f"{flag} is a flag of {', '.join(owners)}"
        if near := difflib.get_close_matches(flag, _flags(given) + _flags(), n=1):
            return f"perhaps {near[0]}"
    if not args[-1].startswith("-") and "--" not in strays and os.path.exists(strays):
        return "-o names a work folder" if os.path.isdir(strays) else "-i names a file of words"
    return ""


def _flags(*names: str) -> list[str]:
    """Return the flags of some commands; of all for no name."""
    its = (field.name for name in names or COMMANDS for field in fields(command(name)))
    return [f"--{name.replace('_', '-')}" for name in its]
