"""The table of the notebooks' figures: as printed, or explained."""

import pytest

from jaxmore.errors import InputError
from jaxmore.ninja import Figure, format_figures, replay

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def figures(seed_names):
    return replay(seed_names)


def test_every_figure_is_as_printed_or_explained(figures):
    assert list(dict.fromkeys(f.notebook for f in figures)) == ["000", "001", "002", "003", "004"]
    assert all(figure.why for figure in figures if figure.ours != figure.printed)
    same = {f"{f.notebook} {f.name}" for f in figures if f.ours == f.printed}
    assert len(same) > 25
    losses = "loss of five words", "loss of the 10th minibatch", "loss of all windows then"
    assert {*(f"002 {name}" for name in losses), "003 loss", "004 loss"} <= same
    # What can't be had again.
    assert {f"{f.notebook} {f.printed}" for f in figures if not f.ours} == {
        "000 3.3275",
        "001 3.2965",
        "001 2.2499 2.2670",
        "001 mora. … calynnsun.",
        "002 2.6687",
    }


def test_maxdiffs_of_notebook_001(figures):
    ours = {f.name: [float(x) for x in f.ours.split()] for f in figures if "maxdiff" in f.name}
    assert max(ours["maxdiff of dlogits, two forms"]) <= 2e-9
    assert max(ours["maxdiff of dhprebn, two forms"]) <= 1e-9


def test_other_words_are_refused(seed_names):
    with pytest.raises(InputError, match="the notebooks' 32,033 names") as error:
        replay(["emma", "olivia"])
    assert "\n" not in str(error.value)
    with pytest.raises(InputError):
        replay(sorted(seed_names))


def test_replay_leaves_the_words_alone(seed_names, figures):
    assert seed_names[:4] == ["emma", "olivia", "ava", "isabella"]


def test_format_marks_what_differs_and_what_is_missing():
    lines = format_figures(
        [
            Figure("000", "same", "1.5", "1.5"),
            Figure("000", "other", "nan", "1.", "because"),
            Figure("000", "gone", "3.3", "", "lost " * 40),
        ]
    ).splitlines()
    assert [line[0] for line in lines] == [" ", "=", "≠", " ", "?", " ", " ", " "]
    assert max(map(len, lines)) <= 100
    assert lines[4].endswith("—")
