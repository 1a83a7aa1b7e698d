"""The exercise as a learner does it: blanks, mistakes, broken files, and the solution."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from jaxmore import cli, stepwise
from jaxmore.errors import InputError
from jaxmore.ninja import batch, check, write
from jaxmore.ninja.blanks import NAMES, my_backward
from jaxmore.ninja.hints import HINTS

SOLUTION = {
    "logprobs": "jnp.zeros_like(logprobs).at[jnp.arange(n), Y].set(-1 / n)",
    "probs": "dlogprobs / probs",
    "counts_sum_inv": "(counts * dprobs).sum(1, keepdims=True)",
    "counts_sum": "-(counts_sum**-2) * dcounts_sum_inv",
    "counts": "counts_sum_inv * dprobs + dcounts_sum",
    "norm_logits": "counts * dcounts",
    "logit_maxes": "-dnorm_logits.sum(1, keepdims=True)",
    "logits": "dnorm_logits + jax.nn.one_hot(logits.argmax(1), 27) * dlogit_maxes",
    "h": "dlogits @ W2.T",
    "W2": "h.T @ dlogits",
    "b2": "dlogits.sum(0)",
    "hpreact": "(1 - h**2) * dh",
    "bngain": "(bnraw * dhpreact).sum(0, keepdims=True)",
    "bnbias": "dhpreact.sum(0, keepdims=True)",
    "bnraw": "bngain * dhpreact",
    "bnvar_inv": "(bndiff * dbnraw).sum(0, keepdims=True)",
    "bnvar": "-0.5 * (bnvar + 1e-5) ** -1.5 * dbnvar_inv",
    "bndiff2": "1 / (n - 1) * jnp.ones_like(bndiff2) * dbnvar",
    "bndiff": "bnvar_inv * dbnraw + 2 * bndiff * dbndiff2",
    "bnmeani": "-dbndiff.sum(0, keepdims=True)",
    "hprebn": "dbndiff + 1 / n * dbnmeani",
    "embcat": "dhprebn @ W1.T",
    "W1": "embcat.T @ dhprebn",
    "b1": "dhprebn.sum(0)",
    "emb": "dembcat.reshape(emb.shape)",
    "C": "jnp.zeros_like(C).at[X].add(demb)",
    "logits_fast": "(jax.nn.softmax(logits) - jax.nn.one_hot(Y, 27)) / n",
    "hprebn_fast": "bngain * bnvar_inv * (dhpreact - dhpreact.mean(0)"
    " - bnraw * (dhpreact * bnraw).sum(0) / (n - 1))",
}

# A mistake on each line, and words of what the check says to it.
MISTAKES = {
    "logprobs": ("jnp.zeros_like(logprobs).at[jnp.arange(n), Y].set(1 / n)", "sign is wrong"),
    "probs": ("dlogprobs * probs", "off, by"),
    "counts_sum_inv": ("counts * dprobs", "sum over axis 1, which the forward broadcast"),
    "counts_sum": ("counts_sum**-2 * dcounts_sum_inv", "sign is wrong"),
    "counts": ("counts_sum_inv * dprobs", "counts is used twice"),
    "norm_logits": ("dcounts", "the local derivative is missing"),
    "logit_maxes": ("dnorm_logits.sum(1, keepdims=True)", "sign is wrong"),
    "logits": ("dnorm_logits", "logits is used twice"),
    "h": ("dlogits @ W2", "TypeError: "),
    "W2": ("dlogits.T @ h", "it is transposed"),
    "b2": ("dlogits.mean(0)", "1/32, a mean in place of a sum"),
    "hpreact": ("(1 - h) * dh", "slope of tanh"),
    "bngain": ("(bnraw * dhpreact).sum(0)", "the values are right: reshape them to (1, 64)"),
    "bnbias": ("dhpreact.sum(1, keepdims=True)", "shape (32, 1), not (1, 64)"),
    "bnraw": ("dhpreact", "the local derivative is missing"),
    "bnvar_inv": ("dbnraw.sum(0, keepdims=True)", "Product rule"),
    "bnvar": ("-0.5 * bnvar**-1.5 * dbnvar_inv", "What stands inside the power?"),
    "bndiff2": ("1 / n * jnp.ones_like(bndiff2) * dbnvar", "0.96875 times"),
    "bndiff": ("bnvar_inv * dbnraw + bndiff * dbndiff2", "bndiff is used twice"),
    "bnmeani": ("-dbndiff.mean(0, keepdims=True)", "1/32, a mean in place of a sum"),
    "hprebn": ("dbndiff + dbnmeani", "hprebn is used twice"),
    "embcat": ("2 * dhprebn @ W1.T", "it is twice what it should be"),
    "W1": ("-embcat.T @ dhprebn", "sign is wrong"),
    "b1": ("-dhprebn.sum(0)", "sign is wrong"),
    "emb": ("dembcat", "reshape them to (32, 3, 10)"),
    "C": ("jnp.zeros_like(C).at[X].set(demb)", "overwrites where it should add"),
    "logits_fast": ("jax.nn.softmax(logits) - jax.nn.one_hot(Y, 27)", "32 times"),
    "hprebn_fast": ("dhprebn", "Which two sums"),
}

BLANKS = my_backward()


def filled(lines: dict[str, str]) -> str:
    text = BLANKS
    for name, line in lines.items():
        assert f"\nd{name} = None" in text
        text = text.replace(f"\nd{name} = None", f"\nd{name} = {line}")
    return text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my_backward.py"


def unwrapped(text: str) -> str:
    return " ".join(text.split())


def line_of(file: Path, start: str) -> int:
    (number,) = [
        i for i, line in enumerate(file.read_text().splitlines(), 1) if line.startswith(start)
    ]
    return number


def test_the_solution_is_right(file, capsys):
    file.write_text(filled(SOLUTION))
    cli.main(["check", str(file)])  # exit code 0
    printed = capsys.readouterr().out
    rows = [line.split("|")[0].strip() for line in printed.splitlines() if "| exact:" in line]
    assert rows == list(NAMES)
    assert printed.count("approximate: True") == 28
    assert "28 right, 0 wrong, 0 to be written" in printed


def test_the_solution_runs_alone_in_float32(file):
    """`python my_backward.py`: the cotangents are those of stepwise."""
    file.write_text(filled(SOLUTION))
    made = runpy.run_path(str(file))
    inputs = batch()
    params = stepwise.Parameters(*inputs[:7])
    values = stepwise.forward(params, inputs.X, inputs.Y)
    for name, want in stepwise.backward(params, inputs.X, inputs.Y, values)._asdict().items():
        assert made[f"d{name}"].dtype == "float32"
        np.testing.assert_allclose(made[f"d{name}"], want, rtol=1e-4, atol=1e-7, err_msg=name)


def test_blanks_are_unfinished(file, capsys):
    file.write_text(BLANKS)
    with pytest.raises(SystemExit) as stop:
        cli.main(["check", str(file)])
    printed = unwrapped(capsys.readouterr().out)
    assert stop.value.code == 1
    assert "0 right, 0 wrong, 28 to be written" in printed
    assert f"next: dlogprobs, line {line_of(file, 'dlogprobs')} of {file}" in printed
    assert HINTS["logprobs"].question in printed
    assert HINTS["logprobs"].more not in printed
    with pytest.raises(SystemExit):
        cli.main(["check", str(file), "--hint"])
    assert HINTS["logprobs"].more in unwrapped(capsys.readouterr().out)


@pytest.mark.parametrize("names", [NAMES[::2], NAMES[1::2]], ids=["even", "odd"])
def test_each_wrong_line_is_named_and_no_other(names, file):
    file.write_text(filled(SOLUTION | {name: MISTAKES[name][0] for name in names}))
    report = check(file)
    wrong = [verdict for verdict in report.verdicts if verdict.problem]
    assert tuple(verdict.name for verdict in wrong) == names
    for verdict in wrong:
        name = verdict.name
        told = unwrapped(str(report._replace(verdicts=[verdict])))
        assert f"the first wrong one: d{name}, line {line_of(file, f'd{name} =')} of" in told
        assert MISTAKES[name][1] in told
        assert HINTS[name].question in told
        assert HINTS[name].more not in told


def test_no_hint_is_the_answer():
    assert HINTS.keys() == set(NAMES)
    for name, line in SOLUTION.items():
        assert line.replace(" ", "") not in " ".join(HINTS[name]).replace(" ", "")


def test_lines_may_be_written_in_any_order(file):
    """The first wrong one is named, though blanks come before it; a blank above stops nothing."""
    done = {"counts_sum": SOLUTION["counts_sum"], "W2": "dlogits.T @ h", "h": "-dlogits @ W2.T"}
    file.write_text(filled(done))
    report = check(file)
    right = [v.name for v in report.verdicts if v.is_right]
    wrong = [v.name for v in report.verdicts if v.problem]
    assert right == ["counts_sum"]
    assert wrong == ["h", "W2"]
    assert "the first wrong one: dh" in str(report)


def test_a_cotangent_may_be_built_up(file):
    """As in the lecture: counts first by way of probs, and later by way of counts_sum; a loop."""
    text = filled(SOLUTION | {"counts": "counts_sum_inv * dprobs\ndcounts += dcounts_sum"})
    loop = "jnp.zeros_like(C)\nfor i in range(n):\n    dC = dC.at[X[i]].add(demb[i])"
    file.write_text(text.replace(SOLUTION["C"], loop))
    assert check(file).passed
    numpy = "__import__('numpy').zeros(C.shape)\n__import__('numpy').add.at(dC, X, demb)"
    file.write_text(text.replace(SOLUTION["C"], numpy))
    assert check(file).passed


def test_writing_into_an_array_works_with_numpy_and_fails_on_its_line_with_jax(file):
    torch_like = "xnp.zeros_like(logprobs)\ndlogprobs[jnp.arange(n), Y] = -1 / n"
    file.write_text(filled(SOLUTION | {"logprobs": torch_like.replace("xnp", "np")}))
    file.write_text(file.read_text().replace("import jax\n", "import jax\nimport numpy as np\n"))
    assert check(file).passed
    file.write_text(filled(SOLUTION | {"logprobs": torch_like.replace("xnp", "jnp")}))
    (wrong,) = [v for v in check(file).verdicts if v.problem]
    assert wrong.name == "logprobs"
    assert wrong.line == line_of(file, "dlogprobs[")
    assert "use x = x.at[idx].set(y)" in wrong.problem


def test_zero_by_identity_is_no_way_around_the_line(file):
    zeros = {"b1": "jnp.zeros(64)", "logit_maxes": "jnp.zeros((32, 1))"}
    file.write_text(filled(SOLUTION | zeros))
    assert [v.name for v in check(file).verdicts if v.problem] == ["logit_maxes", "b1"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("dprobs", "NameError: name 'dprobs' is not defined"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("exit()", "SystemExit"),
        ("'dlogprobs / probs'", "a str, not an array of numbers"),
        ("1j * probs", "a ArrayImpl, not an array of numbers"),
        ("(dlogprobs, probs)", "shape (2, 32, 27), not (32, 27)"),
        ("jnp.log(-probs)", "all 864 elements off, by nan"),
        ("jnp.zeros((32, 64)) @ dlogprobs", "TypeError: dot_general requires"),
    ],
)
def test_what_fails_on_a_line_is_told_in_one(line, problem, file):
    file.write_text(filled({"probs": line}))
    report = check(file)
    (told,) = [row for row in str(report).splitlines() if row.startswith("the first wrong")]
    assert f"dprobs, line {line_of(file, 'dprobs')} of {file}: {problem}" in told


def test_the_line_of_an_exception_is_the_learners(file):
    helper = "None\ndef spread(x):\n    return x.sum(7)\n"
    file.write_text(filled({"logprobs": helper, "probs": "spread(probs)"}))
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
        (BLANKS, "x = 1\n", None, "assigns none of dlogprobs"),
        ("dprobs = None", "dprobs = \0", None, ""),
    ],
)
def test_files_that_cannot_be_judged(old, new, at, message, file):
    assert old in BLANKS
    file.write_text(BLANKS.replace(old, new))
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
    with pytest.raises(InputError, match="is no Python file"):
        check(tmp_path / "bytes.py")


def test_the_file_prints_once(file, capsys):
    file.write_text(BLANKS + "\nprint('here')\n")
    check(file)
    assert capsys.readouterr().out == "here\n"


def test_write_leaves_what_is_there(tmp_path):
    folder = tmp_path / "a" / "b"
    assert write(folder) == [folder / "my_backward.py", folder / "README.md"]
    assert (folder / "my_backward.py").read_text() == BLANKS
    (folder / "my_backward.py").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        write(folder)
    (folder / "my_backward.py").rename(folder / "elsewhere.py")
    with pytest.raises(InputError, match=r"README\.md is there already"):
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
        (["--hint"], "--hint goes with the exercise's file"),
        ([str(tmp_path / "ex" / "my_backward.py"), "--dump"], "no other flag than --hint"),
    ):
        with pytest.raises(SystemExit) as stop:
            cli.main(["check", *flags])
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
