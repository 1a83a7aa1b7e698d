"""The notebooks of examples/: the pairs agree, the exercise is the solved one with blanks."""

import json
from pathlib import Path

import pytest

from website.notebooks import BLANK, EXAMPLES, ROOT, SOLVED, main, notebooks, page, run, with_blanks

NAMES = [path.stem for path in notebooks()]


def cells(path: Path) -> list[tuple[str, str]]:
    content = json.loads(path.read_text("utf-8"))["cells"]
    return [(cell["cell_type"], "".join(cell["source"])) for cell in content]


def test_the_exercise_is_the_solved_notebook_with_blanks() -> None:
    blank = with_blanks(SOLVED.read_text("utf-8"))
    assert BLANK.read_text("utf-8") == blank
    assert blank.count(" = ...\n") == 28
    assert "the solution" not in blank


@pytest.mark.parametrize("name", NAMES)
def test_the_pair_agrees_and_has_one_install_cell(name: str) -> None:
    jupytext = pytest.importorskip("jupytext", reason="the extra 'notebooks' brings it")
    stored = cells(EXAMPLES / f"{name}.ipynb")
    written = jupytext.read(EXAMPLES / f"{name}.py").cells
    assert stored == [(cell.cell_type, cell.source) for cell in written]
    assert sum(source.startswith("%pip install") for _, source in stored) == 1


@pytest.mark.parametrize("name", NAMES)
def test_the_stored_outputs_are_small_whole_and_of_no_machine(name: str) -> None:
    text = (EXAMPLES / f"{name}.ipynb").read_text("utf-8")
    assert len(text) < 300_000
    for cell in json.loads(text)["cells"]:
        for output in cell.get("outputs", []):
            assert output["output_type"] != "error"
    assert str(ROOT) not in text
    assert "/tmp/" not in text
    assert "/home/" not in text


def test_the_blank_one_says_what_is_to_be_written_and_the_solved_one_that_all_is() -> None:
    for name, last in ("1_backprop_ninja", "28 to be written"), (SOLVED.stem, "all written"):
        content = json.loads((EXAMPLES / f"{name}.ipynb").read_text("utf-8"))
        printed = "".join("".join(out.get("text", "")) for out in content["cells"][-1]["outputs"])
        assert last in printed


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_every_cell_and_links_inside_the_site(name: str) -> None:
    text = page(EXAMPLES / f"{name}.ipynb")
    assert text.count("```python\n") == sum(kind == "code" for kind, _ in cells(
        EXAMPLES / f"{name}.ipynb"
    ))  # fmt: skip
    assert "github.io" not in text
    assert text.startswith("# ")


@pytest.mark.slow
def test_a_cell_that_fails_fails_the_run(tmp_path: Path) -> None:
    client = pytest.importorskip("nbclient", reason="the extra 'notebooks' brings it")
    wrong = tmp_path / "wrong.py"
    wrong.write_text("# %%\nassert 1 == 2, 'no'\n", "utf-8")
    with pytest.raises(client.exceptions.CellExecutionError, match="no"):
        run(wrong)


def test_a_page_shows_a_figure(tmp_path: Path) -> None:
    output = {"output_type": "display_data", "data": {"image/png": "aGk=\n", "text/plain": "x"}}
    cell = {"cell_type": "code", "source": ["figure"], "outputs": [output]}
    path = tmp_path / "figure.ipynb"
    path.write_text(json.dumps({"cells": [cell]}), "utf-8")
    assert 'src="data:image/png;base64,aGk="' in page(path)


def test_a_notebook_that_is_not_there_is_named(monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["notebooks", "6_nothing"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "no notebook 6_nothing; there are 1_backprop_ninja, " in capsys.readouterr().err
