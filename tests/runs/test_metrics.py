"""metrics.jsonl after a stop: the whole lines up to the checkpoint, byte for byte."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxmore import plots
from jaxmore.runs.metrics import Metrics
from jaxmore.training.loop import Chunk, TrainState


def chunk(step: int, *losses: float) -> Chunk:
    ratios = {"head.weight": -3.125, "head.bias": float("inf")}
    return Chunk(step, TrainState({}, ()), np.array(losses or [2.5, 3.5], np.float32), ratios)


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
    assert lines[0] == {"step": 10, "loss": 3.0, "update_to_data": {"head.weight": -3.125}}
    assert lines[-1] == {"step": 30, "dev": 2.0}


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
    assert metrics.chunks[0]["loss"] == 2.0
    assert metrics.chunks[0]["skipped"] == 1


def test_a_chunk_that_was_skipped_whole_has_no_mean_and_its_line_is_kept(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl", 0)
    metrics.add(chunk(2, float("nan"), float("inf")))
    metrics.close()
    again = Metrics(tmp_path / "metrics.jsonl", 2)
    again.close()
    ratios = {"head.weight": -3.125}
    assert again.chunks == [{"step": 2, "update_to_data": ratios, "skipped": 2}] == metrics.chunks


def test_a_run_without_finite_ratios_is_drawn_without_their_legend():
    figure = plots.loss_curve([1, 2], [1e29, 1e30], [{}, {}], {"train": 1e30})
    assert not figure.legends
    figure = plots.loss_curve([1, 2], [2.0, 1.0], [{"weight": -3.0}] * 2, {"train": 1.0})
    assert len(figure.legends) == 1
