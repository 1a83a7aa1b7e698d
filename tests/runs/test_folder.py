"""The lock of a work folder: it ends with its process, however that ends."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jaxmore.errors import InputError
from jaxmore.runs.folder import check_overwrite, clear, locked

HOLD = """
import sys, time, pathlib
from jaxmore.runs.folder import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    with first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another run is at work"), locked(folder):
            pass
        first.send_signal(signal.SIGKILL)
    with locked(folder):
        assert [path.name for path in folder.iterdir()] == [".lock"]


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="cannot write"), locked(tmp_path / "out"):
        pass


@pytest.mark.parametrize("name", ["last", "metrics.jsonl", "model.safetensors", "sweep.png"])
def test_what_a_run_would_replace_is_refused_whose_ever_it_is(tmp_path: Path, name: str) -> None:
    check_overwrite(tmp_path, overwrite=False)
    (tmp_path / name).symlink_to("nowhere")
    with pytest.raises(InputError, match=f"holds {name}: --overwrite replaces it, or name"):
        check_overwrite(tmp_path, overwrite=False)
    check_overwrite(tmp_path, overwrite=True)


def test_clear_follows_no_link_and_deletes_nothing_else(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("", encoding="utf-8")
    out = tmp_path / "out"
    (out / "inner").mkdir(parents=True)
    (out / "checkpoints").symlink_to(elsewhere)
    (out / "run.json").write_text("", encoding="utf-8")
    clear(out)
    assert [path.name for path in out.iterdir()] == ["inner"]
    assert (elsewhere / "precious").exists()
