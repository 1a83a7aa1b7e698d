"""``python -m benchmarks.gpu --tiny`` runs where there is no GPU."""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.gpu import NO_TIME, commands, contests
from benchmarks.gpu.__main__ import ALL, SHARES, status_of
from benchmarks.gpu.report import TABLES, TITLES, write_report
from benchmarks.race import Result, Worker


def test_every_part_has_a_share_and_a_table() -> None:
    assert set(ALL) == SHARES.keys() == TABLES.keys() == TITLES.keys()
    assert contests.CONTESTS.keys() < set(ALL)


def test_a_contestant_has_its_place_in_the_report() -> None:
    row = {"case": "gru", "precision": "TF32", "contestant": "jaxmore"}
    figures = {"us_per_step": 1234.5, "ratio": 1.0, "seconds_to_first_step": 2.0, "peak_mb": 3.0}
    rows = [row | figures | {"share_of_peak": 0.25}, row | {"note": NO_TIME}]
    machine = dict.fromkeys(("date", "device", "cpu", "cores", "python"), "?") | {"versions": {}}
    part = {"machine": machine, "rounds": "test", "seconds": 1.0, "status": "complete"}
    page = write_report({"ladder": part | {"rows": rows}})
    assert "| gru | jaxmore | TF32 | 1,234.5 | ×1.00 | 2.0 | 3 | 25.0% |" in page
    assert "| gru | jaxmore | TF32 |  |  |  |  |  | no time left |" in page


def test_the_status_of_a_part_tells_failures_and_lack_of_time() -> None:
    rows = [{}, {"note": "failed: it has no card"}, {"note": NO_TIME}]
    assert status_of(rows[:1]) == "complete"
    assert status_of(rows[:2]) == "1 of 2 failed"
    assert status_of(rows) == "1 of 3 failed, out of time"


def test_the_peers_of_one_that_fails_keep_their_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *peers = rows_of_a_race(monkeypatch, {"jaxmore": None})
    assert first["note"] == "failed: out of memory"
    assert "us_per_step" not in first
    for row in peers:
        assert row["note"] == "not compared: jaxmore failed"
        assert row["us_per_step"] == pytest.approx(1e5)
        assert "ratio" not in row


def test_one_with_other_losses_keeps_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of_a_race(monkeypatch, {"PyTorch, autograd": 2.0})
    *_, other, _ = rows
    assert other["note"].startswith("losses differ: ")
    assert all(row["us_per_step"] == pytest.approx(1e5) for row in rows)
    assert [row for row in rows if "ratio" not in row] == [other]


def rows_of_a_race(
    monkeypatch: pytest.MonkeyPatch, losses: dict[str, float | None]
) -> list[dict[str, Any]]:
    """Race contestants with these losses, or 1; None fails. A run of ten steps takes a second."""

    def race(workers: dict[str, Any], task: Any, rounds: int) -> dict[str, Result]:
        (name,) = workers
        if (loss := losses.get(name, 1.0)) is None:
            raise RuntimeError("out of\nmemory")
        return {name: Result(np.full(10, loss), 1.0, 1.0, [1.0])}

    monkeypatch.setattr(contests, "worker_until", lambda deadline, module: nullcontext())
    monkeypatch.setattr(contests, "race", race)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    return list(contests.run_contests(contests.of_training, True, time.monotonic() + 600))


def test_a_profile_wants_a_row_of_a_peer() -> None:
    with pytest.raises(RuntimeError, match="no peer"):
        next(contests.profile_slowest({"ladder": {"rows": [{"note": NO_TIME}]}}, True, 0.0))


def test_a_command_that_is_late_leaves_its_output_and_no_figure() -> None:
    what = ["timeit", "-s", "print('begun', flush=True)", "import time; time.sleep(60)"]
    row = commands.run_command(what, time.monotonic() + 2)
    assert row == {
        "command": "timeit -s",
        "last_line": "begun",
        "note": NO_TIME,
        "output": "begun\n",
    }


def test_a_command_that_fails_leaves_its_error_and_no_figure() -> None:
    row = commands.run_command(["timeit", "1 / 0"], time.monotonic() + 60)
    assert row["note"] == "failed"
    assert "ZeroDivisionError" in row["output"]
    assert "seconds" not in row


@pytest.mark.parametrize(("module", "why"), [("absent", "ModuleNotFound"), ("flat", "Attribute")])
def test_a_contestant_that_fails_says_why(module: str, why: str) -> None:
    with (
        pytest.raises(RuntimeError, match=f"{why}Error: .*{module}"),
        Worker(f"benchmarks.contestants.{module}") as worker,
    ):
        worker.ask("prepare", None)


def test_a_contestant_is_ended_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker, "__init__", start_what_never_answers)
    ended = (RuntimeError, BrokenPipeError)  # while it is waited for, or already when it is asked
    with pytest.raises(ended), contests.worker_until(0.0, "anything") as worker:
        worker.ask("prepare")


def start_what_never_answers(worker: Worker, module: str) -> None:
    worker.module = module
    worker._process = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


@pytest.mark.slow
def test_the_parts_run_where_there_is_no_gpu(tmp_path: Path) -> None:
    """But for the gradients, which are tests of their own, and two races like the third."""
    pytest.importorskip("torch")
    if not shutil.which("g++"):
        pytest.skip("torch.compile wants a C++ compiler")
    parts = ("transformers", "sweep", "profile")
    command = [sys.executable, "-m", "benchmarks.gpu", *parts, "--tiny", "--output", str(tmp_path)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[1])
    results = json.loads((tmp_path / "gpu.json").read_text("utf-8"))
    assert {name: part["status"] for name, part in results.items()} == dict.fromkeys(
        parts, "complete"
    )
    assert "# On a GPU" in (tmp_path / "gpu.md").read_text("utf-8")
