"""Evaluation, samples and patience between the steps: what they say, keep, and never change."""

import contextlib
import io
import itertools
import json
import shutil
from pathlib import Path

import pytest

from jaxmore.runs.metrics import Metrics
from jaxmore.runs.trained import load
from tests.command_line import run

# So few words that it soon knows them by heart, and the dev loss rises.
FLAGS = ["--type", "bengio", "--n-embd2", "30", "-b", "9", "-l", "0.5", "--schedule", "constant"]
FLAGS += ["--chunk-size", "50", "--save-every", "0", "--max-steps", "2000"]
PATIENT = ["--eval-every", "40", "--sample-every", "100", "--patience", "3"]


class Killed(BaseException):
    """The process is gone."""


def lines(printed: str) -> list[str]:
    """The evaluations of a run, and its early stop."""
    starts = ("step ", "stopped early at step ")
    return [line for line in printed.splitlines() if line.startswith(starts)]


def files(folder: Path) -> dict[str, bytes]:
    """All that a run leaves but its checkpoints and its picture, with no time in it."""
    names = ["metrics.jsonl", "model.safetensors", "config.json"]
    return {name: (folder / name).read_bytes() for name in [*names, "last/model.safetensors"]}


@pytest.fixture(scope="module")
def patient(words: Path, tmp_path_factory) -> Path:
    """A run to the end of its patience; what it said stands beside its folder."""
    out = tmp_path_factory.mktemp("patient") / "out"
    with contextlib.redirect_stdout(io.StringIO()) as said:
        run("train", "-i", words, "-o", out, *FLAGS, *PATIENT)
    (out.parent / "said.txt").write_text(said.getvalue(), encoding="utf-8")
    return out


@pytest.mark.slow
def test_the_best_and_the_last_are_kept(patient, capsys) -> None:
    *chunks, final = map(
        json.loads, (patient / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    )
    dev = {chunk["step"]: chunk["losses"]["dev"] for chunk in chunks if "losses" in chunk}
    stopped = chunks[-1]["step"]
    assert list(dev) == list(range(40, stopped + 1, 40))
    first = min(dev, key=lambda step: dev[step])
    assert stopped == first + 3 * 40
    best, last = load(patient), load(patient / "last")
    assert best.record["training"]["step"] == first
    assert best.record["losses"]["dev"] == dev[first]
    assert last.record["training"]["step"] == stopped == final["step"]
    assert last.record["losses"]["dev"] == final["dev"] == dev[stopped] > dev[first]
    told = f"note: this is the run's best model; the last one: -o {patient / 'last'}\n"
    for folder, model, note in ((patient, best, told), (patient / "last", last, "")):
        capsys.readouterr()
        run("evaluate", "-o", folder)
        out, err = capsys.readouterr()
        assert f"dev   {model.record['losses']['dev']:.4f}" in out
        assert err == note


@pytest.mark.slow
def test_what_is_said(patient) -> None:
    printed = (patient.parent / "said.txt").read_text(encoding="utf-8")
    *evaluations, end = lines(printed)
    chunks = map(json.loads, (patient / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    losses = {chunk["step"]: chunk["losses"] for chunk in chunks if "losses" in chunk}
    assert evaluations == [
        f"step {step} train loss: {x['train']:.4f} dev loss: {x['dev']:.4f} "
        f"test loss: {x['test']:.4f}"
        for step, x in losses.items()
    ]
    *_, best, _, _, last = losses
    assert end == (
        f"stopped early at step {last}: 3 evaluations were no better than that of step {best}, "
        f"{losses[best]['dev']:.4f}"
    )
    assert f"the model of step {best} is better (dev" in printed
    marked = [line for line in printed.splitlines() if line.endswith((" new", "train", "dev/test"))]
    assert len(marked) == 10 * (last // 100) + 20


@pytest.mark.slow
def test_the_cadence_changes_no_bit(words, patient, tmp_path) -> None:
    stopped = load(patient / "last").record["training"]["step"]
    run("train", "-i", words, "-o", tmp_path / "out", *FLAGS, "--max-steps", stopped)
    last = (patient / "last" / "model.safetensors").read_bytes()
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == last
    assert not (tmp_path / "out" / "last").exists()


@pytest.mark.parametrize("chunks", [2, 5, 7])
@pytest.mark.slow
def test_killed_and_resumed_has_the_same_best_and_the_same_patience(
    words, patient, tmp_path, monkeypatch, capsys, chunks
) -> None:
    out, add, written = tmp_path / "out", Metrics.add, itertools.count()

    def add_until(self: Metrics, *args) -> None:
        if next(written) == chunks:
            raise Killed
        add(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "add", add_until)
        with pytest.raises(Killed):
            run("train", "-i", words, "-o", out, *FLAGS, *PATIENT)
    capsys.readouterr()
    run("train", "--resume", "-o", out)
    assert "resumed after step" in capsys.readouterr().out
    assert files(out) == files(patient)


@pytest.mark.slow
def test_a_finished_run_resumed_stays_what_it_is(patient, tmp_path, capsys) -> None:
    out = shutil.copytree(patient, tmp_path / "out")
    run("train", "--resume", "-o", out)
    assert files(out) == files(patient)
    assert "0 steps in" in capsys.readouterr().out


@pytest.mark.slow
def test_more_patience_goes_on_from_there(patient, tmp_path, capsys) -> None:
    out = shutil.copytree(patient, tmp_path / "out")
    stopped = load(out / "last").record["training"]["step"]
    run("train", "--resume", "-o", out, "--patience", "5")
    assert load(out / "last").record["training"]["step"] > stopped
    assert (out / "model.safetensors").read_bytes() == (patient / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_makemores_types_are_chosen_by_test(words, tmp_path, capsys) -> None:
    flags = ["--type", "bigram", "--max-steps", "20", "--eval-every", "10"]
    run("train", "-i", words, "-o", tmp_path / "out", *flags)
    first, second = lines(capsys.readouterr().out)
    assert first.startswith("step 10 train loss: ")
    assert " test loss: " in first
    assert " dev " not in first
    assert second.startswith("step 20 ")
    assert load(tmp_path / "out").record["training"]["step"] == 20
    assert (tmp_path / "out" / "last" / "config.json").exists()
