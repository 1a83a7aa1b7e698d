"""Any list of arguments gives a command, help, or one line and exit code 2: never a traceback."""

import ast
import contextlib
import io
import re
from dataclasses import fields

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxmore import cli
from jaxmore.commands import command

COMMANDS = {name: command(name) for name in cli.COMMANDS}
FLAGS = [f"--{field.name.replace('_', '-')}" for c in COMMANDS.values() for field in fields(c)]
ODD = ["", "-", "--", "-1", "0", "nan", "inf", "1e400", "9" * 400, "0x10", "1_000", "None", "True"]
ODD += [
    "[]",
    "{}",
    "a b",
    "é",
    "\udce9",
    "--help=",
    "-i",
    "-o",
    "-b",
    "-n",
    "\n",
    "\0",
    "=",
    "--x=1",
]
WORDS = st.one_of(st.sampled_from([*FLAGS, *ODD]), st.text(max_size=6), st.integers().map(str))


@given(
    command=st.sampled_from([*COMMANDS, "", "-h", "fly"]),
    rest=st.lists(WORDS, max_size=6),
)
@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow],
)
@pytest.mark.slow
def test_any_arguments(command: str, rest: list[str]) -> None:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = parse([command, *rest])
    if code == 2:
        assert err.getvalue().startswith("jaxmore: ")
        assert err.getvalue().count("\n") == 1
        assert out.getvalue() == ""
    else:
        assert code == 0
        assert err.getvalue() == ""


def parse(args: list[str]) -> object:
    """The exit code of the command with a run that does nothing."""
    original = {command: command.run for command in COMMANDS.values()}
    try:
        for command in original:
            command.run = lambda self: None
        cli.main(args)
    except SystemExit as stop:
        return stop.code or 0
    finally:
        for command, run in original.items():
            command.run = run
    return 0


def test_each_flag_is_one_line_of_a_completion(capsys) -> None:
    """tyro keeps the break in a docstring of two lines, and zsh takes the second for a flag."""
    with pytest.raises(SystemExit) as stop:
        cli.main(["--tyro-print-completion", "zsh"])
    assert not stop.value.code
    script = capsys.readouterr().out
    spec = ast.literal_eval(re.findall(r"^COMPLETION_SPEC = (.*)$", script, flags=re.M)[0])
    assert set(spec["subcommands"]) == set(COMMANDS)
    described = [o["description"] for c in spec["subcommands"].values() for o in c["options"]]
    assert [text for text in described if "\n" in text] == []
