"""The verdicts: right, wrong and blank lines, each judged on its own."""

import runpy

import numpy as np
import pytest

from jaxmore import cli, stepwise
from jaxmore.ninja import batch, check
from jaxmore.ninja.blanks import NAMES
from jaxmore.ninja.hints import HINTS
from tests.ninja.learner import BLANKS, MISTAKES, SOLUTION, filled, line_of, unwrapped


def test_the_solution_is_right(file, capsys):
    file.write_text(filled(SOLUTION), encoding="utf-8")
    cli.main(["check", str(file)])  # exit code 0
    printed = capsys.readouterr().out
    rows = [line.split("|")[0].strip() for line in printed.splitlines() if "| exact:" in line]
    assert rows == list(NAMES)
    assert printed.count("approximate: True") == 28
    assert "28 right, 0 wrong, 0 to be written" in printed


@pytest.mark.slow
def test_the_solution_runs_alone_in_float32(file):
    """`python my_backward.py`: the cotangents are those of stepwise."""
    file.write_text(filled(SOLUTION), encoding="utf-8")
    made = runpy.run_path(str(file))
    inputs = batch()
    params = stepwise.Parameters(*inputs[:7])
    values = stepwise.forward(params, inputs.X, inputs.Y)
    for name, want in stepwise.backward(params, inputs.X, inputs.Y, values)._asdict().items():
        assert made[f"d{name}"].dtype == "float32"
        np.testing.assert_allclose(made[f"d{name}"], want, rtol=1e-4, atol=1e-7, err_msg=name)


def test_blanks_are_unfinished(file, capsys):
    file.write_text(BLANKS, encoding="utf-8")
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
    file.write_text(
        filled(SOLUTION | {name: MISTAKES[name][0] for name in names}), encoding="utf-8"
    )
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
    file.write_text(filled(done), encoding="utf-8")
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
    file.write_text(text.replace(SOLUTION["C"], loop), encoding="utf-8")
    assert check(file).passed
    numpy = "__import__('numpy').zeros(C.shape)\n__import__('numpy').add.at(dC, X, demb)"
    file.write_text(text.replace(SOLUTION["C"], numpy), encoding="utf-8")
    assert check(file).passed


def test_writing_into_an_array_works_with_numpy_and_fails_on_its_line_with_jax(file):
    torch_like = "xnp.zeros_like(logprobs)\ndlogprobs[jnp.arange(n), Y] = -1 / n"
    file.write_text(
        filled(SOLUTION | {"logprobs": torch_like.replace("xnp", "np")}), encoding="utf-8"
    )
    file.write_text(
        file.read_text(encoding="utf-8").replace(
            "import jax\n", "import jax\nimport numpy as np\n"
        ),
        encoding="utf-8",
    )
    assert check(file).passed
    file.write_text(
        filled(SOLUTION | {"logprobs": torch_like.replace("xnp", "jnp")}), encoding="utf-8"
    )
    (wrong,) = [v for v in check(file).verdicts if v.problem]
    assert wrong.name == "logprobs"
    assert wrong.line == line_of(file, "dlogprobs[")
    assert "use x = x.at[idx].set(y)" in wrong.problem


def test_zero_by_identity_is_no_way_around_the_line(file):
    zeros = {"b1": "jnp.zeros(64)", "logit_maxes": "jnp.zeros((32, 1))"}
    file.write_text(filled(SOLUTION | zeros), encoding="utf-8")
    assert [v.name for v in check(file).verdicts if v.problem] == ["logit_maxes", "b1"]
