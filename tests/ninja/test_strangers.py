"""Arrays that lines share, and values that run code when they are read."""

import types

import pytest

from jaxmore.ninja import check
from tests.ninja.learner import SOLUTION, filled, line_of

NUMPY = "import numpy as np\n"
IN_NUMPY = {"hpreact": "np.array((1 - h**2) * dh)"}


def write(file, lines, extra=""):
    text = filled(lines).replace("import jax\n", "import jax\n" + NUMPY + extra, 1)
    file.write_text(text, encoding="utf-8")


def wrong(file):
    return {v.name: v for v in check(file).verdicts if v.problem}


@pytest.mark.parametrize(
    ("lines", "changer", "changed"),
    [
        ({"bnraw": "dhpreact\ndbnraw *= np.asarray(bngain)"}, "bnraw", "dhpreact"),
        ({"bnraw": "dhpreact[:]\ndbnraw[:] = dbnraw * bngain"}, "bnraw", "dhpreact"),
        (
            {"bngain": "np.multiply(bnraw, dhpreact, out=dhpreact).sum(0, keepdims=True)"},
            "bngain",
            "dhpreact",
        ),
    ],
)
def test_a_line_that_changes_the_array_of_another_is_named(lines, changer, changed, file):
    write(file, SOLUTION | IN_NUMPY | lines)
    told = wrong(file)
    assert list(told) == [changer]
    assert f"it changes {changed}, too: the two share an array" in told[changer].problem
    assert told[changer].line >= line_of(file, f"d{changer} = ")
    write(file, SOLUTION | IN_NUMPY)
    assert check(file).passed


def test_a_forward_value_is_not_to_be_changed_either(file):
    write(file, SOLUTION | {"h": "keep\ndh[:] = dlogits @ W2.T"})
    tanh = "h = jnp.tanh(hpreact)\n"
    file.write_text(
        file.read_text(encoding="utf-8").replace(tanh, tanh + "keep = h = np.array(h)\n", 1),
        encoding="utf-8",
    )
    told = wrong(file)
    assert list(told) == ["h"]
    assert told["h"].problem.startswith("it changes h, too: the two share an array")


def test_what_is_built_up_by_another_name_is_right(file):
    flat = "np.zeros(C.shape)\nflat = dC.reshape(-1, 10)\nnp.add.at(flat, X, demb)"
    write(file, SOLUTION | {"C": flat})
    assert check(file).passed
    write(file, SOLUTION | {"C": flat.replace("demb)", "2 * demb)")})
    assert list(wrong(file)) == ["C"]


def test_numpy_stays_numpy(file):
    """A cotangent above is replaced by an array that the next line may write into, as alone."""
    lines = {
        "norm_logits": "np.asarray(counts) * np.asarray(dcounts)",
        "logits": "dnorm_logits.copy()\ndlogits[np.arange(n), logits.argmax(1)] += "
        "np.asarray(dlogit_maxes)[:, 0]",
    }
    write(file, SOLUTION | lines)
    assert check(file).passed


def test_right_lines_that_give_wrong_values_alone(file):
    """A line that counts how often it runs, and is wrong the first time."""
    counter = "import types\ntypes.runs = getattr(types, 'runs', 0) + 1\n"
    write(file, SOLUTION | {"C": SOLUTION["C"] + " * (types.runs != 1 or 2)"}, counter)
    try:
        told = wrong(file)
    finally:
        del types.runs
    assert list(told) == ["C"]
    assert "wrong when the file runs alone" in told["C"].problem


@pytest.mark.parametrize(
    "line",
    [
        "torch.tensor(np.array(dlogprobs / probs), requires_grad=True)",
        "torch.tensor(np.array(dlogprobs / probs))",
        "torch.tensor(np.array(dlogprobs)).div(torch.tensor(np.array(probs)))",
    ],
)
def test_a_line_in_pytorch_is_judged_by_its_numbers(line, file):
    pytest.importorskip("torch")
    rest = {
        "counts_sum_inv": "(counts * dprobs.detach().numpy()).sum(1, keepdims=True)",
        "counts": "counts_sum_inv * dprobs.detach().numpy() + dcounts_sum",
    }
    write(file, SOLUTION | {"probs": line} | rest, "import torch\n")
    assert wrong(file) == {}
    write(file, SOLUTION | {"probs": f"2 * {line}"} | rest, "import torch\n")
    assert "twice what it should be" in wrong(file)["probs"].cause


STRANGERS = """
class Text(Exception):
    def __str__(self):
        raise RuntimeError("no text")
class Array:
    def __array__(self, *args, **kwargs):
        raise Text()
class Exits:
    def __array__(self, *args, **kwargs):
        raise SystemExit(3)
class Detached:
    @property
    def detach(self):
        raise RuntimeError("\\n".join(["two", "lines"]))
def fails(error):
    raise error
"""


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("Array()", "of type Array, not an array of numbers"),
        ("Exits()", "of type Exits, not an array of numbers"),
        ("Detached()", "of type Detached, not an array of numbers"),
        ("fails(Text())", "Text"),
        ("fails(ValueError('\\x1b[31mred'))", r"ValueError: \x1b[31mred"),
        ("fails(GeneratorExit())", "GeneratorExit"),
        ("[[1], [2, 3]]", "of type list, not an array of numbers"),
    ],
)
def test_code_that_runs_when_a_value_is_read_is_guarded(line, problem, file):
    write(file, {"probs": line}, STRANGERS)
    told = wrong(file)
    assert list(told) == ["probs"]
    assert told["probs"].problem == problem


@pytest.mark.parametrize("line", ["sys.stdout.close()", "sys.stdout = sys.stderr = None"])
def test_a_line_does_not_take_standard_output_away(line, file, capsys):
    write(file, SOLUTION, f"import sys\nprint('here')\n{line}\n")
    assert wrong(file) == {}
    print("a report")
    assert capsys.readouterr().out == "here\na report\n"


def test_a_reader_who_goes_away_is_not_the_learners_mistake(file, monkeypatch):
    class Closed:
        def write(self, text):
            raise BrokenPipeError

        def flush(self):
            pass

    write(file, {"probs": "dlogprobs / probs; print('here')"})
    monkeypatch.setattr("sys.stdout", Closed())
    with pytest.raises(BrokenPipeError):
        check(file)


@pytest.mark.parametrize("name", ["b1", "b2"])
def test_an_axis_too_many_is_a_shape_and_no_missing_sum(name, file):
    line = SOLUTION[name].replace("sum(0)", "sum(0, keepdims=True)")
    write(file, SOLUTION | {name: line})
    (verdict,) = wrong(file).values()
    assert verdict.name == name
    assert verdict.cause.startswith("the values are right: reshape them to")


def test_an_exponent_that_is_off_by_one_is_told(file):
    write(file, SOLUTION | {"bnvar": "-0.5 * (bnvar + 1e-5) ** -0.5 * dbnvar_inv"})
    (verdict,) = wrong(file).values()
    assert verdict.cause == "the factor bnvar + 1e-5 is there once too often"


def test_lines_between_may_use_what_is_judged(file):
    """A blank above is None when the file runs alone, and the check goes on nevertheless."""
    text = filled({"probs": SOLUTION["probs"]})
    file.write_text(
        text.replace("\ndprobs = ", "\nassert dlogprobs.shape == (n, 27)\ndprobs = "),
        encoding="utf-8",
    )
    assert [v.name for v in check(file).verdicts if v.is_right] == ["probs"]
