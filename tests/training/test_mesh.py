"""Several devices: the same bits on any number of them, and the collectives of a compiled step."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jaxmore.errors import InputError
from jaxmore.training.mesh import n_parts, parse_mesh
from tests.tolerance import TOLERANCE

OFF = TOLERANCE["float32"]
REFUSED = {
    "--mesh data=16": "--mesh data=16 takes 16 devices, JAX finds 8",
    "--mesh data=5": "--mesh data=5 does not divide --batch-size 16",
    "--mesh data=3": "--mesh data=3 does not divide --batch-size 16",
    "--mesh rows=2": "--mesh rows=2: there is no axis 'rows', only data and model",
    "--mesh data=0": "--mesh data=0: the size of data must be a whole number from 1 on",
    "--mesh data=2 --cpu-devices 4": "--cpu-devices 4: JAX has started with 8",
    "--no-deterministic": "--no-deterministic goes with --mesh",
}


def run_program(folder: Path, *args: str) -> dict[str, Any]:
    words = "\n".join(a + b + c for a in "avz" for b in "eio" for c in "lmn")
    (folder / "words.txt").write_text(words)
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.mesh_program", *args],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_eight_devices(tmp_path: Path) -> None:
    seen = run_program(tmp_path, "quick", *REFUSED)
    one, eight, plain = (seen[f"mlp-bn {which}"] for which in ("tree 1", "tree 8", "plain 4"))
    assert one["bits"] == eight["bits"]
    assert max(layout["off"] for layout in (one, eight, plain)) < OFF
    # One of all gradients; BatchNorm takes two forward and two backward.
    assert eight["collectives"] == ["all-gather"] * 5
    assert set(plain["collectives"]) == {"all-reduce"}
    assert seen["resumed"] == seen["whole"]
    for flags, (code, line) in seen["refused"].items():
        assert line.startswith(f"jaxmore: {REFUSED[flags]}"), flags
        assert (code, line.count("\n")) == (2, 1)


@pytest.mark.slow
def test_more_models_more_devices_and_mutants(tmp_path: Path) -> None:
    seen = run_program(tmp_path, "thorough")
    for model, n_collectives in (("mlp-bn", 5), ("transformer", 1)):
        layouts = [seen[f"{model} tree {data}"] for data in (1, 2, 4, 8)]
        assert len({layout["bits"] for layout in layouts}) == 1
        assert all(layout["off"] < OFF for layout in layouts)
        for layout in layouts[1:]:
            assert layout["collectives"] == ["all-gather"] * n_collectives
    assert seen["transformer plain 4"]["off"] < OFF
    assert set(seen["transformer plain 4"]["collectives"]) == {"all-reduce"}
    assert all(off > 0.1 for off in seen["mutants"].values()), seen["mutants"]


def test_a_batch_has_the_same_parts_on_every_layout() -> None:
    assert [n_parts(b) for b in (32, 12, 6, 7, 8)] == [8, 4, 2, 1, 8]


def test_an_axis_is_named_once() -> None:
    assert parse_mesh("model=2,data=4") == {"data": 4, "model": 2}
    with pytest.raises(InputError, match="twice"):
        parse_mesh("data=2,data=2")
