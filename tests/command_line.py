"""The commands, run in this process."""

from pathlib import Path

import pytest

from jaxmore import cli


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
