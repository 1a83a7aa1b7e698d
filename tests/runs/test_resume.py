"""Stopped and resumed is never stopped: the command in one process, bit for bit."""

import itertools
import json
import shutil
import time
from pathlib import Path

import pytest

from jaxmore.runs.metrics import Metrics
from jaxmore.runs.trained import load
from tests.command_line import WORDS, refused, run, tree

MODEL = ["--type", "bengio", "--n-embd2", "9", "-b", "5"]  # small: it compiles fast
FLAGS = [*MODEL, "--max-steps", "90", "--chunk-size", "10", "--save-every", "0"]


class Killed(BaseException):
    """The process is gone: nothing that tidies up may catch it."""


def results(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("metrics.jsonl", "model.safetensors")}


@pytest.fixture(scope="module")
def whole(words: Path, tmp_path_factory) -> Path:
    """A run that was never stopped."""
    out = tmp_path_factory.mktemp("whole") / "out"
    run("train", "-i", words, "-o", out, *FLAGS)
    return out


@pytest.fixture
def finished(whole: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(whole, tmp_path / "finished"))


def killed(words: Path, out: Path, monkeypatch, chunks: int, *flags: str) -> Path:
    """A run that was killed after some chunks, and the torn line of the next."""
    add = Metrics.add

    def add_until(self: Metrics, chunk, *losses) -> None:
        if chunk.step > 10 * chunks:
            with open(out / "metrics.jsonl", "ab") as file:
                file.write(b'{"step": 1')
            raise Killed
        add(self, chunk, *losses)

    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "add", add_until)
        with pytest.raises(Killed):
            run("train", "-i", words, "-o", out, *FLAGS, *flags)
    return out


@pytest.mark.parametrize("chunks", [0, 4, 8])
@pytest.mark.quick("4")
def test_killed_and_resumed_ends_as_the_whole_run(
    whole, words, tmp_path, monkeypatch, capsys, chunks
) -> None:
    out = killed(words, tmp_path / "out", monkeypatch, chunks)
    capsys.readouterr()
    run("train", "--resume", "-o", out)
    printed = capsys.readouterr().out
    # A checkpoint is begun only when the one before it is written, so not after every chunk.
    assert ("resumed after step" if chunks else "begins again at the first step") in printed
    assert results(out) == results(whole)
    first, second = load(out), load(whole)
    assert first.record["losses"] == second.record["losses"]
    run("sample", "-o", whole)
    expected = capsys.readouterr().out
    assert expected.count("\n") == 20
    assert expected in printed


@pytest.mark.slow
def test_muon_killed_and_resumed_ends_as_its_whole_run(words, tmp_path, monkeypatch) -> None:
    muon = ["--optimizer", "muon", "-l", "0.02"]
    run("train", "-i", words, "-o", tmp_path / "whole", *FLAGS, *muon)
    out = killed(words, tmp_path / "out", monkeypatch, 4, *muon)
    run("train", "--resume", "-o", out)
    assert results(out) == results(tmp_path / "whole")


@pytest.mark.parametrize("flags", [["--save-every", "99"], ["--chunk-size", "45"]])
@pytest.mark.slow
def test_no_cadence_changes_a_bit(whole, words, tmp_path, flags) -> None:
    run("train", "-i", words, "-o", tmp_path / "out", *FLAGS, *flags)
    assert results(tmp_path / "out")["model.safetensors"] == results(whole)["model.safetensors"]


def test_a_clock_that_jumps_changes_nothing(whole, words, tmp_path, monkeypatch) -> None:
    jumps = itertools.cycle([2e9, 0.0, 4e9, 1e9])
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    out = killed(words, tmp_path / "out", monkeypatch, 4, "--save-every", "0")
    run("train", "--resume", "-o", out)
    assert results(out) == results(whole)


def test_damage_falls_back_to_the_checkpoint_before_and_says_so(finished, whole, capsys) -> None:
    newest = max((finished / "checkpoints").iterdir())
    content = bytearray((newest / "state" / "manifest.ocdbt").read_bytes())
    content[20] ^= 1
    (newest / "state" / "manifest.ocdbt").write_bytes(content)
    capsys.readouterr()
    run("train", "--resume", "-o", finished)
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert "step-000000000090 is damaged ('state/manifest.ocdbt' is not as it was sealed)" in err
    assert "resumed after step" in out
    assert "resumed after step 90" not in out
    assert results(finished) == results(whole)


def test_a_finished_run_resumed_stays_what_it_is(finished, whole, capsys) -> None:
    run("train", "--resume", "-o", finished)
    assert results(finished) == results(whole)


def test_the_record_lost_is_read_from_a_checkpoint(finished, whole) -> None:
    (finished / "run.json").write_bytes(b"\0" * 40)
    run("train", "--resume", "-o", finished)
    assert results(finished) == results(whole)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["-b", "7"], "--batch-size is 7, but the run has 5"),
        (["--n-embd2", "10"], "--n-embd2 is 10, but the run has 9"),
        (["--type", "mlp-bn"], "--type is mlp-bn, but the run has bengio"),
        (["--optimizer", "adamw"], "--optimizer is adamw, but the run has sgd"),
        (["-l", "0.5"], "--learning-rate is 0.5, but the run has 0.1"),
        (["--seed", "1"], "--seed is 1"),
        (
            ["--max-steps", "200"],
            "--max-steps is 200, but the run has 90: a step schedule depends on it",
        ),
        (["--on-nan", "skip"], "--on-nan is skip, but the run has stop"),
        (["--unique"], "--unique is True"),
        (["--overwrite"], "exclude each other"),
        (["--save-every", "-1"], "--save-every must be 0 or more"),
        (["--save-every", "nan"], "--save-every must be 0 or more"),
        (["-i", "{other}"], "name its words with -i"),
        (["-i", "{shuffled}"], "is not the file that the run began with"),
    ],
)
def test_the_wrong_thing_is_named_and_nothing_changes(
    finished, tmp_path, capsys, flags, message
) -> None:
    other, shuffled = tmp_path / "other", tmp_path / "shuffled"
    other.write_text("\n".join(WORDS).replace("a", "ä"), encoding="utf-8")
    shuffled.write_text("\n".join(WORDS[::-1]), encoding="utf-8")
    flags = [flag.format(other=other, shuffled=shuffled) for flag in flags]
    before = tree(finished)
    assert message in refused(capsys, "train", "--resume", "-o", finished, *flags)
    assert tree(finished) == before


def test_what_a_folder_holds_is_not_overwritten(words, finished, tmp_path, capsys) -> None:
    before = tree(finished)
    assert "holds a trained model" in refused(capsys, "train", "-i", words, "-o", finished)
    assert tree(finished) == before
    (finished / "config.json").unlink()
    assert "holds an unfinished run" in refused(capsys, "train", "-i", words, "-o", finished)
    assert "no run to resume" in refused(capsys, "train", "--resume", "-o", tmp_path / "none")
    (finished / "mine.txt").write_text("mine", encoding="utf-8")
    run("train", "-i", words, "-o", finished, *FLAGS, "--overwrite", "--max-steps", "20")
    assert (finished / "mine.txt").read_text(encoding="utf-8") == "mine"
    assert max(p.name for p in (finished / "checkpoints").iterdir()) == "step-000000000020"


@pytest.mark.slow
def test_a_better_model_is_not_overwritten_by_a_worse_one(words, tmp_path, capsys) -> None:
    """makemore.py forgets its best loss when it resumes."""
    out = tmp_path / "out"
    run("train", "-i", words, "-o", out, *FLAGS, "--schedule", "constant")
    good = (out / "model.safetensors").read_bytes()
    loss = load(out).record["losses"]["dev"]
    # Pretend that it was far better than anything that more steps can give.
    text = (out / "config.json").read_text(encoding="utf-8")
    config = json.loads(text)
    config["losses"]["dev"] = 0.01
    (out / "config.json").write_text(json.dumps(config), encoding="utf-8")
    capsys.readouterr()
    run("train", "--resume", "-o", out, "--max-steps", "110")
    printed = capsys.readouterr().out
    assert "the model of step 90 is better (dev 0.0100 against" in printed
    assert f"and is kept; the last one is in {out / 'last'}" in printed
    assert load(out / "last").record["training"]["step"] == 110
    assert (out / "model.safetensors").read_bytes() == good
    assert (
        json.loads((out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])["step"]
        == 110
    )
    assert loss > 0.01


def test_a_damaged_best_model_is_told_and_replaced(finished, whole, capsys) -> None:
    content = bytearray((finished / "model.safetensors").read_bytes())
    content[-3] ^= 4
    (finished / "model.safetensors").write_bytes(content)
    capsys.readouterr()
    run("train", "--resume", "-o", finished)
    err = capsys.readouterr().err
    assert err.startswith(f"note: the model in {finished} cannot be read: model.safetensors is")
    assert err.endswith("the next one takes its place\n")
    assert err.count("\n") == 1
    assert results(finished) == results(whole)


def test_another_machine_is_told(finished, capsys, monkeypatch) -> None:
    record = json.loads((finished / "run.json").read_text(encoding="utf-8"))
    record["versions"] |= {"threads": 99, "cpu": "8086", "jax": "0.1"}
    (finished / "run.json").write_text(json.dumps(record), encoding="utf-8")
    capsys.readouterr()
    run("train", "--resume", "-o", finished)
    err = capsys.readouterr().err
    assert all(f"{old} → " in err for old in ("threads 99", "cpu 8086", "jax 0.1"))
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b"null", b'{"format": 1}', b'{"format": 2}', b"\x80\x04c", b"9" * 5000],
)
def test_a_damaged_record_is_one_line(tmp_path, capsys, content: bytes) -> None:
    (tmp_path / "run.json").write_bytes(content)
    assert str(tmp_path) in refused(capsys, "train", "--resume", "-o", tmp_path)


@pytest.mark.parametrize(
    ("flag", "value"), [("batch_size", 8.5), ("n_embd2", "9"), ("type", "mpl"), ("schedule", [])]
)
def test_a_flag_of_another_kind_in_the_record_is_named(finished, capsys, flag, value) -> None:
    record = json.loads((finished / "run.json").read_text(encoding="utf-8"))
    record["flags"][flag] = value
    (finished / "run.json").write_text(json.dumps(record), encoding="utf-8")
    assert f"run.json: {flag} cannot be {value!r}" in refused(
        capsys, "train", "--resume", "-o", finished
    )
