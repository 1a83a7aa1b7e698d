"""What a notebook shows: tables, heat maps in the explorer's colours, progress, figures."""

import base64
import io
import re
import sys
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.image import imread

import jaxmore
from jaxmore.explore.html import html
from jaxmore.notebook import colours, heat_map
from jaxmore.testing import check_rule
from tests.command_line import WORDS

# The same flags for every fit, here and in test_library.py, so that it compiles once.
SMALL = {"max_steps": 40, "chunk_size": 20, "batch_size": 5, "n_embd2": 9}


class Reader(HTMLParser):
    """The text of the cells; every tag that is opened is closed."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.open: list[str] = []
        self.pictures = 0
        self.feed(content)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "img":
            self.pictures += 1
            return
        self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] in (["td"], ["th"]):
            self.cells[-1] += data


@pytest.fixture(scope="module")
def trained() -> jaxmore.Trained:
    return jaxmore.fit(WORDS, **SMALL)


def pixels(picture: str) -> np.ndarray:
    png = base64.b64decode(re.findall(r"base64,([^\"]+)", picture)[0])
    return np.rint(255 * imread(io.BytesIO(png))[..., :3]).astype(int)


def test_a_heat_map_has_the_explorers_colours() -> None:
    page = html("index.html", {})
    low, mid, high = (re.findall(rf"--{name}: #(\w+)", page)[0] for name in ("low", "mid", "high"))
    shown = pixels(heat_map([[-2.0, 0.0, 2.0], [0.5, np.nan, -0.5]]))
    names = [["".join(f"{c:02x}" for c in pixel) for pixel in row] for row in shown]
    assert names[0] == [low, mid, high]
    assert names[1][1] == high  # as in the page, what is no number is strongest
    assert page.count("--low: #") == colours().count("--low: #") == 2


def test_a_heat_map_of_any_shape_is_small() -> None:
    assert heat_map(np.zeros((0, 3))) == ""
    assert pixels(heat_map(np.float32(3))).shape == (1, 1, 3)
    assert pixels(heat_map(np.ones((5, 1)))).shape == (1, 5, 3)
    assert pixels(heat_map(np.ones((1, 4, 3)))).shape == (4, 3, 3)
    wide = heat_map(np.random.default_rng(0).normal(size=(300, 9, 100)))
    assert pixels(wide).shape == (64, 512, 3)
    assert "the first 64 by 512" in wide
    assert len(wide) < 60_000


def test_a_trace_is_a_table_with_two_pictures_a_place_and_a_tree(trained) -> None:
    x, y = jaxmore.context_windows(["mia"], trained.vocab, 3)
    places = jaxmore.trace(trained.model, trained.params, x, y)
    shown = Reader(places._repr_html_())
    assert {"hidden", "hidden.weight", "loss", "cotangent"} <= set(shown.cells)
    assert shown.pictures == 2 * len(places)
    doubled = jax.jit(lambda tree: jax.tree.map(lambda a: 2 * a, tree))(places)
    assert list(doubled) == list(places)
    np.testing.assert_array_equal(doubled["head"][1], 2 * places["head"][1])


def test_a_model_shows_its_layers_and_a_trained_one_its_parameters(trained) -> None:
    layers = Reader(trained.model._repr_html_())
    assert {"hidden", "Linear", "bias (9,), weight (30, 9)"} <= set(layers.cells)
    shown = Reader(trained._repr_html_())
    assert {"hidden.weight", "(30, 9)", "norm.gain"} <= set(shown.cells)
    assert f"dev {trained.record['losses']['dev']:.4f}" in trained._repr_html_()


def test_a_report_is_a_table_whatever_the_verdict() -> None:
    def scale_fwd(x: Any, gain: Any) -> Any:
        return x * gain, (x, gain)

    def scale_bwd(res: Any, dy: Any) -> Any:
        x, gain = res
        return dy * gain, x * dy

    x, gain = jnp.ones((3, 2)), jnp.array([1.0, 2.0])
    with pytest.raises(AssertionError) as wrong:
        check_rule(scale_fwd, scale_bwd, x, gain)
    shown = wrong.value.report._repr_html_()
    Reader(shown)
    assert "scale: wrong; gain: the cotangent has shape (3, 2)" in shown


def test_fit_shows_one_bar_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    display = SimpleNamespace(
        HTML=lambda text: text,
        display=lambda text, display_id: shown.append(text) or SimpleNamespace(update=shown.append),
    )
    shell = SimpleNamespace(kernel=None)
    ipython = SimpleNamespace(get_ipython=lambda: shell, display=display)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    jaxmore.fit(WORDS, **SMALL)
    first, second, last = shown
    assert first.endswith("0 of 40 steps  compiling …")
    assert re.search(r"20 of 40 steps  loss \d\.\d+  [\d,]+ steps/s  \d+ s left$", second)
    assert re.search(r"40 of 40 steps  loss .* s, compilation included$", last)
    jaxmore.fit(WORDS, progress=False, **SMALL)
    assert len(shown) == 3


def test_the_loss_curve_is_returned(tmp_path) -> None:
    jaxmore.fit(WORDS, work_dir=tmp_path, **SMALL)
    figure = jaxmore.loss_curve(tmp_path, "36 words")
    assert figure.axes[0].get_title() == "36 words"
    assert figure._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(jaxmore.InputError, match="no metrics"):
        jaxmore.loss_curve(tmp_path / "last")
