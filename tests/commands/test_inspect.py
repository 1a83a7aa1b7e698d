"""jaxmore inspect, and train --diagnose: the numbers in the figures, and what is refused."""

import json
import math
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxmore
from jaxmore import plots
from jaxmore.data import Vocabulary
from jaxmore.errors import InputError
from jaxmore.layers import by_path
from jaxmore.models import MODELS, model_options
from jaxmore.runs.folder import clear
from jaxmore.runs.metrics import Metrics, read_history
from jaxmore.runs.trained import Trained, _template, load, save
from tests.command_line import WORDS, refused, run, tree
from tests.runs.test_every_type import SIZES

FLAGS = ["--n-embd2", "9", "--max-steps", "40", "--chunk-size", "20", "-b", "5"]


@pytest.fixture(scope="module")
def trained(words, tmp_path_factory) -> Path:
    """A work folder of a run with --diagnose."""
    out = tmp_path_factory.mktemp("trained") / "out"
    run("train", "-i", words, "-o", out, *FLAGS, "--diagnose")
    return out


@pytest.fixture
def drawn(monkeypatch) -> dict[str, plots.Picture]:
    """The figures that a command would save, by name: a second for each is spared."""
    figures: dict[str, plots.Picture] = {}
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.update({path.name: figure}))
    return figures


def copy(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "out"))


def test_the_figures_hold_the_numbers_of_the_json(trained, tmp_path, drawn, capsys) -> None:
    out, file = copy(trained, tmp_path), tmp_path / "found.json"
    run("inspect", "-o", out, "--json", file)
    printed = capsys.readouterr().out
    names = ["activations", "gradients", "training", "embedding", "dlogits"]
    looks = [f"-{theme}{suffix}" for theme in ("light", "dark") for suffix in (".png", ".svg")]
    assert sorted(drawn) == sorted(name + look for name in names for look in looks)
    assert f"{out / 'inspect'}: {', '.join(names)}, light and dark" in printed

    found = json.loads(file.read_text("utf-8"))
    assert found["type"] == "mlp-bn" and found["step"] == 40 and found["examples"] == 32
    assert f"at initialisation {found['first_loss']:.4f}" in printed
    assert found["uniform_loss"] == math.log(load(out).vocab.size)
    assert f"of a row is {found['largest_row_sum']:.1e}" in printed
    layers = {layer.pop("path"): layer for layer in found["layers"]}
    assert list(layers) == ["embedding", "hidden", "norm", "act", "head"]
    assert [path for path, layer in layers.items() if layer["saturated"] is not None] == ["act"]

    parameters = {row["path"]: row for row in found["parameters"]}
    gradients, updates, line = drawn["gradients-dark.png"].axes[0].lines
    for drawn_line, name in (gradients, "gradient_to_data"), (updates, "update_to_data"):
        np.testing.assert_allclose(
            drawn_line.get_xdata(), [row[name] for row in parameters.values()]
        )
    assert line.get_xdata() == [-3, -3]
    history = read_history(out)
    assert {path: row["update_to_data"] for path, row in parameters.items()} == (
        history.update_to_data[-1]
    )

    above, update, gradient = drawn["training-light.svg"].axes
    for axes, ratios in (update, history.update_to_data), (gradient, history.gradient_to_data):
        (drawn_line,) = [line for line in axes.lines if line.get_label() == "head.weight"]
        assert list(drawn_line.get_ydata()) == [chunk["head.weight"] for chunk in ratios]
        assert axes.lines[-1].get_ydata() == [-3, -3]
    ends = {line.get_label().rpartition(" ")[0]: line.get_ydata() for line in above.lines}
    assert ends["at initialisation"] == [found["first_loss"]]
    assert ends["−log 1/V"] == [found["uniform_loss"]] * 2

    (image,) = drawn["dlogits-light.png"].axes[0].images
    shown = np.asarray(image.get_array())
    assert shown.shape == (32, load(out).vocab.size)
    assert np.abs(shown.sum(-1)).max() == pytest.approx(found["largest_row_sum"])
    assert (shown.argmin(-1) == [label_id(out, t) for t in drawn_targets(drawn)]).all()
    characters = [text.get_text() for text in drawn["embedding-dark.svg"].axes[0].texts]
    assert characters == [".", *load(out).vocab.characters]


def drawn_targets(drawn: dict[str, plots.Picture]) -> list[str]:
    labels = drawn["dlogits-light.png"].axes[0].get_yticklabels()
    return [label.get_text()[-1] for label in labels]


def label_id(out: Path, character: str) -> int:
    return [".", *load(out).vocab.characters].index(character)


def test_the_histograms_count_the_arrays() -> None:
    rng = np.random.default_rng(0)
    layers = {"a": (rng.normal(size=(9, 70)), 1e-3 * rng.normal(size=(9, 70))),
              "b": (3 * rng.normal(size=200), np.array([0.0, 1e-2, -1e-4]))}  # fmt: skip
    figure = plots.histograms(layers, {"a": "1.0% saturated"}, "a $title$")
    left, right = figure.axes
    for axes, kind in (left, 0), (right, 1):
        for place, (patch, arrays) in enumerate(zip(axes.patches, layers.values(), strict=True)):
            heights, edges, baseline = patch.get_data()
            array = arrays[kind].ravel()
            array = np.log10(np.abs(array[array != 0])) if kind else array
            counts, _ = np.histogram(array, edges)
            np.testing.assert_allclose(heights - baseline, 0.9 * counts / counts.max(), atol=1e-9)
            assert baseline == -place
            assert counts.sum() > 0.9 * array.size
    assert [label.get_text() for label in left.get_yticklabels()] == ["a", "b"]


@pytest.mark.parametrize("name", plots.THEMES)
def test_a_figure_is_written_light_or_dark_and_twice_with_the_same_bytes(name, tmp_path) -> None:
    paper = {"light": (255, 255, 255), "dark": (20, 23, 27)}[name]
    from PIL import Image

    for file in ("a.svg", "b.svg", "a.png"):
        with plots.theme(name):
            figure = plots.gradient_sizes({"w": -1.0}, {"w": -3.5, "b": math.nan}, "title")
        plots.save(figure, tmp_path / file)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.convert("RGB").getpixel((1, 1)) == paper
        assert image.width == 960


def test_what_cannot_be_inspected_is_one_line_and_changes_nothing(
    trained, tmp_path, drawn, capsys, monkeypatch
) -> None:
    assert "holds no trained model" in refused(capsys, "inspect", "-o", tmp_path / "none")
    out = copy(trained, tmp_path)
    (out / "inspect").mkdir()
    (out / "inspect" / "training-dark.svg").write_bytes(b"mine")
    before = tree(out)
    assert "training-dark.svg exists already: --overwrite" in refused(capsys, "inspect", "-o", out)
    assert "--seed must lie in" in refused(capsys, "inspect", "-o", out, "--seed", "-1")
    other = tmp_path / "other.txt"
    other.write_text("\n".join(WORDS).replace("a", "ä"), "utf-8")
    flags = ["--overwrite", "-i", other]
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run("inspect", "-o", out, *flags)
    note, error = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and note.startswith("note: ") and "ä" in error
    with monkeypatch.context() as patch:
        patch.delattr(jaxmore, "plots")
        patch.setitem(sys.modules, "jaxmore.plots", None)
        assert "figures need matplotlib" in refused(capsys, "inspect", "-o", out)
    assert tree(out) == before
    (out / "metrics.jsonl").unlink()
    assert "no metrics of a run" in refused(capsys, "inspect", "-o", out, "--overwrite")
    (out / "config.json").unlink()
    assert "its run is unfinished, train --resume" in refused(capsys, "inspect", "-o", out)
    assert drawn == {}


def test_diagnose_changes_no_bit_and_adds_the_ratios(trained, words, tmp_path) -> None:
    plain = tmp_path / "plain"
    run("train", "-i", words, "-o", plain, *FLAGS)
    same = "model.safetensors"
    assert (plain / same).read_bytes() == (trained / same).read_bytes()
    ours, theirs = read_history(trained), read_history(plain)
    assert ours._replace(gradient_to_data=[{}, {}]) == theirs
    saved = load(trained)
    assert all(set(chunk) == set(ours.update_to_data[0]) for chunk in ours.gradient_to_data)
    assert saved.record["training"]["step"] == ours.steps[-1]


def test_diagnose_needs_metrics_and_a_new_run_clears_the_old_figures(tmp_path) -> None:
    with pytest.raises(InputError, match="--diagnose needs a work folder"):
        jaxmore.fit(WORDS, diagnose=True)
    (tmp_path / "inspect").mkdir()
    (tmp_path / "inspect" / "dlogits-dark.png").write_bytes(b"of the old run")
    clear(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_run_that_was_killed_and_resumed_keeps_its_ratios(
    trained, words, tmp_path, monkeypatch
) -> None:
    add, out = Metrics.add, tmp_path / "out"

    def add_once(self: Metrics, chunk, *others) -> None:
        if chunk.step == 40:
            raise KeyboardInterrupt
        add(self, chunk, *others)

    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "add", add_once)
        with pytest.raises(SystemExit):
            run("train", "-i", words, "-o", out, *FLAGS, "--diagnose", "--save-every", "0")
    assert read_history(out).steps == [20]
    run("train", "--resume", "-o", out)  # --diagnose is the run's
    assert read_history(out) == read_history(trained)


@pytest.mark.parametrize("type", SIZES)
@pytest.mark.slow
def test_every_type_is_drawn(type, trained, tmp_path, drawn, capsys, monkeypatch) -> None:
    vocab = Vocabulary.from_words(WORDS)
    options = model_options(type, longest_word=6, **SIZES[type])
    if "block_size" in options:
        options["block_size"] = max(8, options["block_size"])
    model = MODELS[type].make(vocab.size, **options)
    rng = np.random.default_rng(0)
    arrays = jax.tree.map(
        lambda leaf: np.abs(rng.normal(size=leaf.shape)),
        _template(model, options.get("block_size", 8)),
    )
    record = load(trained).record
    save(Trained(type, options, vocab, arrays["params"], arrays["stats"], record), tmp_path)
    shutil.copy(trained / "metrics.jsonl", tmp_path)
    monkeypatch.setattr(plots, "THEMES", ("light",))
    run("inspect", "-o", tmp_path)
    assert ("attention-light.svg" in drawn) == (type in ("transformer", "microgpt"))
    printed = capsys.readouterr().out
    assert all(f"\n{path} " in printed for path in by_path(arrays["params"]))
