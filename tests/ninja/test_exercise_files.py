"""A learner does the exercises on attention and on the GRU: right lines, mistakes, blanks."""

import re
from collections import defaultdict
from itertools import zip_longest
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from jaxmore import cli
from jaxmore.commands.exercise import Exercise as Command
from jaxmore.errors import InputError
from jaxmore.ninja import EXERCISES, check
from tests.mutants.mutate import mutants_of
from tests.ninja.learner import unwrapped
from tests.ninja.solutions import MISTAKES, SOLUTIONS, filled, plain
from tests.site.test_pages import ROOT, assert_alike

PAGE = (ROOT / "docs/how-to/exercise.md").read_text("utf-8")
each = pytest.mark.parametrize("name", SOLUTIONS)
# One exercise in `make test`, both in `make test-all`.
quick_attention = pytest.mark.quick("attention")


def test_the_command_offers_every_exercise():
    assert get_args(get_type_hints(Command)["of"]) == tuple(EXERCISES)


@each
def test_every_blank_has_its_lines_its_hint_and_its_solution(name):
    exercise = EXERCISES[name]
    assert exercise.hints.keys() == SOLUTIONS[name].keys() == MISTAKES[name].keys()
    assert tuple(SOLUTIONS[name]) == exercise.names  # in the order of the backward pass
    for variable, line in SOLUTIONS[name].items():
        assert exercise.lines_that_read(variable)
        assert line.replace(" ", "") not in " ".join(exercise.hints[variable]).replace(" ", "")


@each
@quick_attention
def test_the_solution_is_right_as_the_commands_write_and_check_it(name, tmp_path, capsys):
    cli.main(["exercise", str(tmp_path), "--of", name])
    file = tmp_path / "my_backward.py"
    assert capsys.readouterr().out.split() == [str(file), str(tmp_path / "README.md")]
    total = len(EXERCISES[name].names)
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert f"There are {total}, and" in unwrapped(readme)
    assert f"all {total} lines are right" in readme
    with pytest.raises(SystemExit) as stop:
        cli.main(["check", str(file)])
    assert stop.value.code == 1
    first = EXERCISES[name].names[0]
    assert file.read_text(encoding="utf-8") == filled(name, {})
    printed = capsys.readouterr().out
    assert f"0 right, 0 wrong, {total} to be written\nnext: d{first}, line " in printed
    file.write_text(filled(name, SOLUTIONS[name]), encoding="utf-8")
    cli.main(["check", str(file)])  # exit code 0
    printed = capsys.readouterr().out
    assert printed.count("approximate: True") == total
    assert f"{total} right, 0 wrong, 0 to be written" in printed


@each
@pytest.mark.parametrize("half", [0, 1], ids=["even", "odd"])
@quick_attention
def test_each_wrong_line_is_named_and_no_other(name, half, file):
    names = EXERCISES[name].names[half::2]
    mistakes = {variable: MISTAKES[name][variable][0] for variable in names}
    file.write_text(filled(name, SOLUTIONS[name] | mistakes), encoding="utf-8")
    report = check(file)
    wrong = [verdict for verdict in report.verdicts if verdict.problem]
    assert tuple(verdict.name for verdict in wrong) == names
    for verdict in wrong:
        told = unwrapped(str(report._replace(verdicts=[verdict], more=True)))
        assert MISTAKES[name][verdict.name][1] in told, told


EQUIVALENT = {
    "dnormed.sum((1, 0))",
    "(dnormed * lnraw).sum((1, 0))",
    "dlogits.sum((1, 0))",
    "dhs[:, 3]",  # JAX clamps an index beyond the end
    "-0.5 * (lnvar + 1.0009999999999999e-05) ** (-1.5) * dlnvar_inv",  # off by less than 1e-6
}


@pytest.mark.slow
@each
def test_every_mutant_of_the_solution_is_refused(name, file):
    """One mutant of each line at a time: lines are judged on their own."""
    mutants: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for mutant in mutants_of(f"jaxmore/ninja/{name}/stepwise.py"):
        assignment = re.fullmatch(r"d(\w+) = (.+)", mutant.after)
        if mutant.function == "backward" and assignment and assignment[1] in SOLUTIONS[name]:
            variable, line = assignment.groups()
            mutants[variable].append((variable, plain(line)))
    lacks = {"proj"}  # dproj = dy: no node to change
    assert mutants.keys() == SOLUTIONS[name].keys() - lacks
    for at_a_time in zip_longest(*mutants.values()):
        lines = dict(filter(None, at_a_time))
        file.write_text(filled(name, SOLUTIONS[name] | lines), encoding="utf-8")
        verdicts = {verdict.name: verdict for verdict in check(file).verdicts}
        assert {lines[v] for v in lines if not verdicts[v].problem} <= EQUIVALENT
        assert all(verdict.is_right for v, verdict in verdicts.items() if v not in lines)


@each
@pytest.mark.parametrize("half", [0, 1], ids=["even", "odd"])
@quick_attention
def test_what_is_left_out_is_to_be_written(name, half, file):
    """The lines below a blank are judged all the same."""
    names = EXERCISES[name].names[half::2]
    written = {v: line for v, line in SOLUTIONS[name].items() if v not in names}
    file.write_text(filled(name, written), encoding="utf-8")
    report = check(file)
    assert tuple(v.name for v in report.verdicts if v.is_blank) == names
    assert {v.name for v in report.verdicts if v.is_right} == written.keys()


@pytest.mark.slow
def test_a_function_may_do_what_repeats(file):
    """As the README of the GRU says: several cotangents from one line."""
    step = """
def step_back(dh, h, z, r, hhat):
    dhhat, dz = z * dh, (hhat - h) * dh
    dah = (1 - hhat**2) * dhhat
    dxrh = dah @ Wh.T
    dr = h * dxrh[:, E:]
    dar, daz = r * (1 - r) * dr, z * (1 - z) * dz
    return dhhat, dz, dah, dxrh, dr, dar, daz, daz @ Wz.T + dar @ Wr.T

"""
    promised = "dhhat3, dz3, dah3, dxrh3, dr3, dar3, daz3, dxh3 = step_back(dh3, h2, z3, r3, hhat3)"
    assert promised in EXERCISES["gru"].readme
    text = filled("gru", SOLUTIONS["gru"])
    for t in (3, 2, 1):
        text = re.sub(rf"\nd(?!h{t} )\w+{t} = .*", "", text)
        call = promised.replace("h2", "h" + str(t - 1)).replace("3", str(t))
        text = re.sub(rf"(\ndh{t} = .*\n)", rf"\1{call}\n", text)
    text = text.replace("\ndlogits = ", f"{step}\ndlogits = ")
    file.write_text(text, encoding="utf-8")
    assert check(file).passed
    file.write_text(text.replace("(hhat - h) * dh", "hhat * dh"), encoding="utf-8")
    assert [v.name for v in check(file).verdicts if v.problem][:1] == ["z3"]


def test_the_page_shows_what_the_check_says(tmp_path, monkeypatch):
    """The transcript with a wrong line; the others on the page are run by tests/site."""
    (shown,) = re.findall(r"```text\n\$ jaxmore check (attention/.+)\n([\s\S]+?)```", PAGE)
    monkeypatch.chdir(tmp_path)
    file = Path(shown[0])
    file.parent.mkdir()
    names = EXERCISES["attention"].names
    lines = {name: SOLUTIONS["attention"][name] for name in names[: names.index("masked")]}
    assert f"`dmasked = {MISTAKES['attention']['masked'][0]}`" in PAGE
    lines["masked"] = MISTAKES["attention"]["masked"][0]
    file.write_text(filled("attention", lines), encoding="utf-8")
    assert_alike(shown[1], str(check(file)))


def test_a_masked_score_is_no_way_around_the_line(file):
    file.write_text(filled("attention", {"scores": "dmasked"}), encoding="utf-8")
    assert [v.name for v in check(file).verdicts if v.problem] == ["scores"]


def test_a_changed_forward_line_is_refused(file):
    text = filled("gru", SOLUTIONS["gru"])
    file.write_text(text.replace("\nh1 = (1 - z1)", "\nh1 = (2 - z1)"), encoding="utf-8")
    with pytest.raises(InputError, match="h1 has changed: the lines above the first blank"):
        check(file)
    file.write_text(text.replace("\nhs = jnp.stack([h1", "\nhs = jnp.stack([h2"), encoding="utf-8")
    with pytest.raises(InputError, match="hs has changed"):
        check(file)


def test_an_unknown_exercise_is_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["exercise", str(tmp_path / "ex"), "--of", "lstm"])
    assert stop.value.code == 2
    assert "attention" in capsys.readouterr().err
    assert not (tmp_path / "ex").exists()
