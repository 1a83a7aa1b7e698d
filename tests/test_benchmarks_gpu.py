"""``python -m benchmarks.gpu --tiny`` runs where there is no GPU."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import NO_TIME, contests
from benchmarks.gpu.__main__ import ALL, SHARES
from benchmarks.gpu.report import TABLES, TITLES, write_report
from benchmarks.race import Worker


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
    assert "| gru | jaxmore | TF32 | no time left |" in page


def test_a_contestant_is_ended_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker, "__init__", start_what_never_answers)
    ended = (RuntimeError, BrokenPipeError)  # while it is waited for, or already when it is asked
    with pytest.raises(ended), contests.until(0.0, "anything") as worker:
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
    rows = results["transformers"]["rows"]
    notes = {row["contestant"]: row["note"] for row in rows if "note" in row}
    assert notes == {"jax.grad, cuDNN attention": "not on a CPU"}
    assert "# On a GPU" in (tmp_path / "gpu.md").read_text("utf-8")
