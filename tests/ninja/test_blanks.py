"""``jaxmore exercise`` writes the files of the exercise."""

import pytest

from jaxmore import cli
from jaxmore.errors import InputError
from jaxmore.ninja import write
from tests.ninja.learner import BLANKS


def test_write_leaves_what_is_there(tmp_path):
    folder = tmp_path / "a" / "b"
    assert write(folder) == [folder / "my_backward.py", folder / "README.md"]
    assert (folder / "my_backward.py").read_text(encoding="utf-8") == BLANKS
    (folder / "my_backward.py").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="exists already"):
        write(folder)
    (folder / "my_backward.py").rename(folder / "elsewhere.py")
    with pytest.raises(InputError, match=r"README\.md exists already"):
        write(folder)
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "elsewhere.py"]
    with pytest.raises(InputError, match="cannot write to"):
        write(folder / "elsewhere.py" / "c")


def test_the_command_writes_and_other_flags_are_refused(tmp_path, capsys):
    cli.main(["exercise", str(tmp_path / "ex")])
    assert capsys.readouterr().out.splitlines() == [
        str(tmp_path / "ex" / "my_backward.py"),
        str(tmp_path / "ex" / "README.md"),
    ]
    for flags, message in (
        (["--hint"], "--hint needs the file of an exercise"),
        ([str(tmp_path / "ex" / "my_backward.py"), "--dump"], "no other flag than --hint"),
    ):
        with pytest.raises(SystemExit) as stop:
            cli.main(["check", *flags])
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
