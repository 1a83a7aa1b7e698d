"""metrics.jsonl after a stop: the whole lines up to the checkpoint, byte for byte."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxmore import plots
from jaxmore.runs.metrics import Metrics, loss_curve, read_history
from jaxmore.training.loop import Chunk, TrainState


def chunk(step: int, *losses: float) -> Chunk:
    ratios = {"head.weight": -3.125, "head.bias": float("inf")}
    return Chunk(
        step, TrainState({}, ()), np.array(losses or [2.5, 3.5], np.float32), ratios, 0xBEEF
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    metrics = Metrics(tmp_path / "metrics.jsonl", 0)
    for step in (10, 20, 30):
        metrics.add(chunk(step))
    metrics.finish(30, {"dev": 2.0})
    metrics.sync()
    metrics.close()
    return tmp_path / "metrics.jsonl"


def test_lines_as_they_come(path: Path) -> None:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    ratios = {"head.weight": -3.125}
    expected = {"step": 10, "loss": 3.0, "batch_hash": "0000beef", "update_to_data": ratios}
    assert lines[0] == expected
    assert lines[-1] == {"step": 30, "dev": 2.0}


def test_the_ratios_of_gradients_stand_beside_those_of_updates(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl", 0)
    metrics.add(chunk(10))
    metrics.add(chunk(20), None, {"head.weight": -1.5, "head.bias": float("nan")})
    metrics.close()
    history = read_history(tmp_path)
    assert history.steps == [10, 20]
    assert history.update_to_data == [{"head.weight": -3.125}] * 2
    assert history.gradient_to_data == [{}, {"head.weight": -1.5}]
    assert history.results == {}


@pytest.mark.parametrize(("step", "kept"), [(0, 0), (9, 0), (10, 1), (25, 2), (30, 3), (99, 3)])
def test_a_resumed_run_keeps_the_lines_up_to_its_checkpoint(path: Path, step, kept) -> None:
    before = path.read_bytes().splitlines(keepends=True)
    metrics = Metrics(path, step)
    metrics.close()
    assert path.read_bytes() == b"".join(before[:kept])
    assert metrics.last_step == 10 * kept


@pytest.mark.parametrize("junk", [b'{"step": 20, "lo', b"\0" * 50, b"\xff\n", b"[]\n", b"7\n"])
def test_a_torn_line_is_dropped(path: Path, junk: bytes) -> None:
    whole = path.read_bytes().splitlines(keepends=True)[0]
    path.write_bytes(whole + junk)
    Metrics(path, 20).close()
    assert path.read_bytes() == whole


def test_skipped_steps_are_counted_and_the_mean_is_of_the_others(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl", 0)
    metrics.add(chunk(3, 1.0, float("nan"), 3.0))
    metrics.close()
    (line,) = map(json.loads, (tmp_path / "metrics.jsonl").read_bytes().splitlines())
    assert line["loss"] == 2.0
    assert line["skipped"] == 1


def test_a_chunk_that_was_skipped_whole_has_no_mean_and_its_line_is_kept(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl", 0)
    metrics.add(chunk(2, float("nan"), float("inf")))
    metrics.close()
    again = Metrics(tmp_path / "metrics.jsonl", 2)
    again.close()
    ratios = {"head.weight": -3.125}
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_bytes().splitlines()]
    assert lines == [{"step": 2, "batch_hash": "0000beef", "update_to_data": ratios, "skipped": 2}]


def test_a_run_without_finite_ratios_is_drawn_without_their_legend():
    figure = plots.loss_curve([1, 2], [1e29, 1e30], [{}, {}], {"train": 1e30})
    assert not figure.legends
    figure = plots.loss_curve([1, 2], [2.0, 1.0], [{"weight": -3.0}] * 2, {"train": 1.0})
    assert len(figure.legends) == 1


def test_the_figure_says_what_was_trained_and_keeps_equal_losses_and_many_parameters_apart():
    paths = [f"blocks.{k}.weight" for k in range(40)]
    results = {"train": 1.5, "dev": 1.75, "test": 1.75}
    ratios = [dict.fromkeys(paths, -3.0)] * 2
    figure = plots.loss_curve([1, 2], [2.0, 1.5], ratios, results, "gru, on $x$.txt")
    above, below = figure.axes
    assert above.get_title() == "gru, on $x$.txt"
    ends = [line for line in above.lines if line.get_label().startswith(tuple(results))]
    assert [line.get_ydata() for line in ends] == [[1.5], [1.75], [1.75]]
    assert len({(line.get_marker(), line.get_markersize()) for line in ends}) == 3
    assert len({tuple(line.get_color()) for line in below.lines[:40]}) == 40
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert legend.y1 <= below.get_window_extent().y0  # below the plots, which keep their width
    assert below.get_window_extent().width > 0.8 * figure.bbox.width


def test_the_figure_of_a_run_that_was_killed(tmp_path) -> None:
    line = b'{"step": 10, "loss": 2.5, "update_to_data": {"weight": -3.0}}\n'
    (tmp_path / "metrics.jsonl").write_bytes(line + b'{"step": 20, "lo')
    assert loss_curve(tmp_path).axes
