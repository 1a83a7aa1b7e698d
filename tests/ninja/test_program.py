"""The learner's file as a program: lines that fail, and files that cannot be judged."""

import pytest

from jaxmore.errors import InputError
from jaxmore.ninja import check
from tests.ninja.learner import BLANKS, SOLUTION, filled, line_of


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("dprobs", "NameError: name 'dprobs' is not defined"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("exit()", "SystemExit"),
        ("'dlogprobs / probs'", "of type str, not an array of numbers"),
        ("1j * probs", "of type ArrayImpl, not an array of numbers"),
        ("(dlogprobs, probs)", "shape (2, 32, 27), not (32, 27)"),
        ("jnp.log(-probs)", "all 864 elements off, by nan"),
        ("jnp.zeros((32, 64)) @ dlogprobs", "TypeError: dot_general requires"),
    ],
)
def test_what_fails_on_a_line_is_told_in_one(line, problem, file):
    file.write_text(filled({"probs": line}), encoding="utf-8")
    report = check(file)
    (told,) = [row for row in str(report).splitlines() if row.startswith("the first wrong")]
    assert f"dprobs, line {line_of(file, 'dprobs')} of {file}: {problem}" in told


def test_the_line_of_an_exception_is_the_learners(file):
    helper = "None\ndef spread(x):\n    return x.sum(7)\n"
    file.write_text(filled({"logprobs": helper, "probs": "spread(probs)"}), encoding="utf-8")
    (wrong,) = [v for v in check(file).verdicts if v.problem]
    assert wrong.name == "probs"
    assert wrong.line == line_of(file, "    return x.sum(7)")


@pytest.mark.parametrize(
    ("old", "new", "at", "message"),
    [
        ("dprobs = None", "dprobs = (1", "dprobs =", "'(' was never closed"),
        ("dprobs = None", "import nothing_", "import nothing_", "ModuleNotFoundError: No module"),
        ("jnp.tanh", "jnp.sin", "h =", "h has changed: the lines above"),
        ("h = jnp.tanh(hpreact)", "", "logits =", "NameError: name 'h'"),
        ("n = X.shape[0]", "n = 31", "embcat =", "TypeError: "),
        ("dprobs = None", "C = 'x'", "C = ", "C has changed"),
        ("\nloss = ", "\nlost = ", None, "has no line for loss: the lines above"),
        (BLANKS, "x = 1\n", None, "assigns no cotangent of an exercise"),
        ("dprobs = None", "dprobs = \0", None, ""),
    ],
)
def test_files_that_cannot_be_judged(old, new, at, message, file):
    assert old in BLANKS
    file.write_text(BLANKS.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError) as refusal:
        check(file)
    told = str(refusal.value)
    assert (f"{file}, line {line_of(file, at)}: {message}" if at else message) in told
    assert str(file) in told
    assert "\n" not in told


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        check(tmp_path / "nowhere.py")
    with pytest.raises(InputError, match="cannot read"):
        check(tmp_path)
    (tmp_path / "bytes.py").write_bytes(b"dprobs = '\xff'")
    with pytest.raises(InputError, match=r"bytes\.py, line 1: .*utf-8"):
        check(tmp_path / "bytes.py")


def test_files_are_read_as_python_reads_them(file):
    text = filled({"logprobs": SOLUTION["logprobs"]})
    latin = "# -*- coding: latin-1 -*-\nnote = 'r\xe9sum\xe9'\n" + text
    for content in (
        b"\xef\xbb\xbf" + text.encode(),
        text.replace("\n", "\r\n").encode(),
        latin.encode("latin-1"),
    ):
        file.write_bytes(content)
        assert [v.name for v in check(file).verdicts if v.is_right] == ["logprobs"]
    file.write_bytes(b"# coding: nonsense\n" + text.encode())
    with pytest.raises(InputError, match="nonsense"):
        check(file)


def test_the_file_prints_once(file, capsys):
    file.write_text(BLANKS + "\nprint('here')\n", encoding="utf-8")
    check(file)
    assert capsys.readouterr().out == "here\n"
