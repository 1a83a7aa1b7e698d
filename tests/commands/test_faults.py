"""Paths, streams and disks as they come: one line, exit code 2, and what was there is kept."""

import json
import os
import sys
from pathlib import Path

import pytest
from rich.progress import Progress

from jaxmore.errors import InputError
from jaxmore.files import check_output, write_atomically, write_output
from jaxmore.runs.folder import replace_run
from jaxmore.runs.progress import Status
from tests.command_line import WORDS, refused, run, tree

SMALL = ["--type", "bengio", "--n-embd2", "9", "--max-steps", "20", "--chunk-size", "10", "-b", "5"]
NOT_UTF8 = os.fsdecode(b"d\xe9")
posix = pytest.mark.skipif(os.name == "nt", reason="such names and devices are POSIX's")


@pytest.fixture
def words_file(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return path


@posix
@pytest.mark.slow
def test_paths_that_are_not_utf8(words_file, tmp_path, capsys) -> None:
    words = words_file.rename(tmp_path / f"{NOT_UTF8}.txt")
    out = tmp_path / NOT_UTF8 / "out"
    flags = ["-i", words, *SMALL, "--schedule", "constant"]
    run("train", *flags, "-o", out)
    run("train", "-o", out, "--resume", "--max-steps", "30")
    assert "resumed after step 20" in capsys.readouterr().out
    assert len(list((out / "checkpoints").glob("step-*"))) == 2
    assert json.loads((out / "run.json").read_bytes())["flags"]["input_file"] == str(words)


def test_nothing_is_deleted_before_the_new_run_is_on_the_disk(tmp_path, monkeypatch) -> None:
    (tmp_path / "run.json").write_text("old", encoding="utf-8")
    (tmp_path / "metrics.jsonl").write_text("old", encoding="utf-8")
    before = tree(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            replace_run(tmp_path, "run.json", b"new")
    assert tree(tmp_path) == before
    replace_run(tmp_path, "run.json", b"new")
    assert tree(tmp_path) == {"run.json": b"new"}


@posix
def test_a_file_that_cannot_be_written_leaves_no_other(tmp_path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_atomically(tmp_path / "file", b"more than five bytes")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["no/such/file.json", "folder", "words.txt/file"])
def test_an_output_path_is_tried_before_the_work(
    words_file, tmp_path, capsys, monkeypatch, name
) -> None:
    monkeypatch.setattr("jaxmore.testing.check_shipped_rules", None)  # not reached
    (tmp_path / "folder").mkdir()
    line = refused(capsys, "check", "--rule", "tanh", "--json", tmp_path / name)
    assert f"cannot write {tmp_path / name}: " in line


def test_a_figure_whose_name_is_taken_is_named_before_the_work(
    words_file, tmp_path, capsys
) -> None:
    for command, figure in ("ngram", "bigrams.png"), ("find-lr", "find-lr.png"):
        (tmp_path / figure).mkdir()
        line = refused(capsys, command, "-i", words_file, "-o", tmp_path)
        assert f"cannot write {tmp_path / figure}: Is a directory" in line


@posix
def test_output_goes_through_links_and_into_devices(tmp_path) -> None:
    file, link, pipe = (tmp_path / name for name in ("file", "link", "pipe"))
    link.symlink_to(file)
    write_output(link, b"content")
    assert link.is_symlink() and file.read_bytes() == b"content"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    check_output(pipe)
    write_output(pipe, b"piped")
    assert os.read(reader, 99) == b"piped"
    os.close(reader)
    with pytest.raises(InputError, match="Is a directory"):
        write_output(tmp_path, b"")


@pytest.mark.slow
def test_a_wrong_kind_of_file_at_one_of_our_names(words_file, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    run("train", "-i", words_file, "-o", out, *SMALL, "--schedule", "constant")
    (out / "checkpoints" / ".partial").write_text("a file", encoding="utf-8")
    run("train", "-o", out, "--resume", "--max-steps", "30")
    assert (out / "checkpoints" / "step-000000000030").is_dir()
    for name, kind in ("loss.png", "file"), ("metrics.jsonl", "file"), ("last", "folder"):
        aside = tmp_path / name
        if (out / name).exists():
            (out / name).rename(aside)
        (out / name).touch() if kind == "folder" else (out / name).mkdir()
        line = refused(capsys, "train", "-o", out, "--resume", "--max-steps", "40")
        assert f"{out / name} is not a {kind}" in line
        (out / name).unlink() if kind == "folder" else (out / name).rmdir()
        if aside.exists():
            aside.rename(out / name)


@posix
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path, capsys) -> None:
    for name in ("pipe.py", "pipe.pt", "config.json", "run.json"):
        os.mkfifo(tmp_path / name)
    for args in (
        ["check", tmp_path / "pipe.py"],
        ["convert", "--from", tmp_path / "pipe.pt", "--to", tmp_path / "new"],
        ["sample", "-o", tmp_path],
        ["data", "-i", tmp_path / "pipe.pt"],
    ):
        assert "neither a file nor a folder" in refused(capsys, *args)
    assert "cannot be read" in refused(capsys, "train", "--resume", "-o", tmp_path)


def test_a_closed_standard_error_is_not_standard_output(capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with pytest.raises(SystemExit) as stop:
        run("fly")
    sys.stderr.close()
    assert stop.value.code == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["sweep", "--resume"], "--resume is a flag of train"),
        (["train", "--prompt", "a"], "--prompt is a flag of sample"),
        (["train", "--sample_only"], "jaxmore sample samples from a trained model"),
        (["train", "--num_workers=3"], "leave it out"),
        (["train", "--tempreature", "2"], "perhaps --temperature"),
        (["train", "--lr", "0.1"], "perhaps --learning-rate"),
        (["trian"], "perhaps train"),
        (["-i", "names.txt"], "name a command: train, sample"),
        (["sample", "--top-k", "-1"], "--top-k -1: leave it out to draw among all characters"),
        (["sample", "."], "-o names a work folder"),
        (["train", "--max-steps", "100000000000"], "--max-steps must be below 2³¹"),
        (["trace", "ab", "--block-size", "1000000000"], "characters are too many"),
        (["train", "--type", "rnn", "--n-layer", "2"], "the type rnn has no such size"),
        (["train", "--type", "microgpt", "--n-layer", "99999999"], "must be at most 1,000"),
    ],
)
def test_what_may_have_been_meant(capsys, args, line) -> None:
    assert refused(capsys, *args).endswith(f"{line}\n") or line in refused(capsys, *args)


@pytest.mark.slow
def test_a_chunk_that_cannot_fit_is_refused_before_anything_is_cleared(
    words_file, tmp_path, capsys
) -> None:
    out = tmp_path / "out"
    run("train", "-i", words_file, "-o", out, *SMALL)
    before = tree(out)
    most = str(2**31 - 1)
    huge = ["--max-steps", most, "--chunk-size", most, "-b", "1000", "--overwrite"]
    line = refused(capsys, "train", "-i", words_file, "-o", out, *SMALL, *huge)
    assert "--chunk-size" in line
    assert tree(out) == before


def test_ngram_samples_any_number_of_words_in_batches(
    words_file, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr("jaxmore.training.sampling.AT_ONCE", 7)
    run("ngram", "-i", words_file, "-o", tmp_path, "--n-words", "20")
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.endswith(("new", "in train", "in dev/test")) for line in lines) == 20


def test_the_progress_bar_says_that_it_compiles_before_its_first_chunk() -> None:
    with Progress(disable=True) as bar:
        task = bar.add_task("training", total=10, loss=None)
        assert str(Status().render(bar.tasks[0])) == "compiling … 0 s"
        bar.update(task, loss=2.5, rate=1234.0)
        assert str(Status().render(bar.tasks[0])) == "loss 2.5000  1,234 steps/s"


def test_an_argument_is_text_in_any_locale(capsys, monkeypatch) -> None:
    monkeypatch.setattr(os, "fsencode", lambda text: text.encode("ascii", "surrogateescape"))
    run("trace", "\udcc3\udca9")  # é, as an ASCII locale hands it on
    assert capsys.readouterr().out.splitlines()[1] == "... ------> é"
