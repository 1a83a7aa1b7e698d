"""The commands, run in this process, and words for them to read."""

from pathlib import Path

import pytest

from jaxmore import cli

WORDS = [a + b + c for a in ("ka", "mi", "ro", "ta") for b in ("", "n", "li") for c in "aeo"]
"""The same words for every test that trains, so that equal flags share what is compiled."""


def run(*args: object) -> None:
    cli.main([str(arg) for arg in args])


def refused(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """The one line that a refusal prints; exit code 2, nothing on stdout."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run(*args)
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    assert err.startswith("jaxmore: ")
    assert err.count("\n") == 1
    return err


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
