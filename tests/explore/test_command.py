"""``jaxmore explore``: what it writes, and what it refuses in one line."""

import importlib.util
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxmore.commands.explore import Explore
from jaxmore.errors import InputError
from jaxmore.explore import assemble, mistakes, network, places
from jaxmore.explore.formulas import FILE, formulas
from jaxmore.explore.html import html
from jaxmore.layers import by_path
from jaxmore.ninja.stepwise import Cotangents
from jaxmore.runs.trained import load
from tests.command_line import run, tree
from tests.explore.node import absent

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["emma", "olivia", "ava", "mia", "amelia", "via", "lima", "eva", "ola", "vela"] * 3


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("\n".join(WORDS), encoding="utf-8")
    return str(path)


@pytest.fixture
def small(monkeypatch):
    """One size and one mistake: tracing them all takes ten seconds."""
    monkeypatch.setattr("jaxmore.explore.assemble.BATCHES", (8,))
    monkeypatch.setattr("jaxmore.explore.assemble.HIDDEN", (16,))
    few = mistakes.mistakes()[:1]
    monkeypatch.setattr("jaxmore.explore.assemble.mistakes", lambda: few)


def _data(path):
    html = path.read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=", html)  # nothing outside the file
    return json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])


def test_fresh_parameters(tmp_path, words, small, capsys):
    page = tmp_path / "page.html"
    Explore(page=str(page), input_file=words).run()
    assert capsys.readouterr().out == f"{page}\n"
    data = _data(page)
    assert data["characters"][1:] == "".join(sorted({*"".join(WORDS)}))
    assert set(data["words"]) <= set(WORDS)
    assert data["trained"] is None
    with pytest.raises(InputError, match="exists already: --overwrite replaces it"):
        Explore(page=str(page), input_file=words).run()
    Explore(page=str(page), input_file=words, overwrite=True).run()


@pytest.mark.slow
def test_a_trained_runs_parameters(tmp_path, words, small):
    out = tmp_path / "out"
    run("train", "-i", words, "-o", out, "--max-steps", 2, "--n-embd2", 5, "--block-size", 2)
    Explore(work_dir=str(out)).run()
    data = _data(out / "explore.html")
    assert data["hidden"] == [5]
    assert data["sizes"]["T"] == 2
    leaves = by_path(load(out).params)
    np.testing.assert_array_equal(data["trained"]["params"]["W1"], leaves["hidden.weight"].ravel())
    np.testing.assert_array_equal(data["trained"]["params"]["bngain"], leaves["norm.gain"].ravel())


@pytest.mark.slow
def test_refusals_change_nothing(tmp_path, words):
    with pytest.raises(InputError, match="holds no trained model"):
        Explore(work_dir=str(tmp_path / "none")).run()
    with pytest.raises(InputError, match="the word 'emma' needs a trained model"):
        Explore("emma", page=str(tmp_path / "page.html"), input_file=words).run()
    out = tmp_path / "out"
    run("train", "-i", words, "-o", out, "--type", "bigram", "--max-steps", 1)
    before = tree(out)
    for word, message in [
        ("zoë", "unknown character 'z'"),
        ("", "the word is empty"),
        ("emmaemma", "needs a block size of at least 9, got 7"),
    ]:
        with pytest.raises(InputError, match=message):
            Explore(word, work_dir=str(out)).run()
    assert tree(out) == before
    with pytest.raises(InputError, match="cannot write"):
        Explore(page=str(tmp_path / "none" / "page.html"), input_file=words).run()
    assert not (tmp_path / "none").exists()


def test_the_formulas_are_those_of_the_places():
    if importlib.util.find_spec("latex2mathml") is None:
        absent("latex2mathml writes the formulas: pip install latex2mathml")
    assert json.loads(FILE.read_text("utf-8")) == formulas()


def test_every_cotangent_has_its_text_and_its_lines():
    assert tuple(places.PLACES) == Cotangents._fields
    lines = places.source_lines()
    for name in Cotangents._fields:
        assert f"d{name} = " in lines[f"d{name}"]
        assert places.PLACES[name].derivation.count(". ") == 2, name
    assert "is_max = " in lines["dlogits"]
    assert "collects" in lines["dC"] and lines["dcounts"].count("dcounts = ") == 2


def test_the_built_page_in_docs_is_of_these_sources():
    """``jaxmore explore -i data/names.txt --page docs/explorer/explore.html --overwrite``."""
    data_of = re.compile(r'(?<=id="data">).*?(?=</script>)', re.DOTALL)
    path = ROOT / "docs" / "explorer" / "explore.html"
    if not path.exists():
        pytest.skip("a source distribution does not hold docs/explorer")
    built = path.read_text("utf-8")
    assert len(built) < 5e6
    assert data_of.sub("", built) == data_of.sub("", html("index.html", {}))
    if f"jax=={jax.__version__}\n" not in (ROOT / "constraints.txt").read_text("utf-8"):
        pytest.skip("the programs in docs/explorer are those of the pinned jax")
    data = json.loads(data_of.search(built)[0])
    assert data["programs"]["16,8"]["backward"] == json.loads(
        json.dumps(network.backward_program(network.Sizes(8, 3, 27, 10, 16)))
    )
    assert data["places"] == json.loads(json.dumps(assemble._places()))
