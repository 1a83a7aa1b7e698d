"""Tables, colours and JSON: what a terminal shows, and what a pipe gets."""

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from jaxmore import cli
from jaxmore.commands import COMMANDS, command
from jaxmore.data import Splits
from jaxmore.layers import describe
from jaxmore.models import MODELS
from jaxmore.runs.inference import print_words
from jaxmore.terminal import paint, pasteable, table
from tests.command_line import WORDS, run

# As in test_commands.py, so that it compiles once.
SMALL = ["--n-embd2", "9", "--max-steps", "40", "--chunk-size", "20", "-b", "5"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_wide_characters_do_not_shift_the_columns(capsys) -> None:
    print_words(["さくら", "ava", "é", "김민수"], Splits(["ava"], ["é"], []))
    lines = capsys.readouterr().out.splitlines()
    marks = ("new", "in train", "in dev/test", "new")
    before = [line.removesuffix(mark) for line, mark in zip(lines, marks, strict=True)]
    assert [cell_len(text) for text in before] == [21] * 4


@pytest.mark.parametrize("columns", [60, 80])
def test_a_table_fits_the_width_and_loses_nothing(columns: int) -> None:
    model = MODELS["gru"].make(27)
    wide, fitted = describe(model), describe(model, columns)
    assert max(map(len, wide.splitlines())) > 200
    assert max(map(len, fitted.splitlines())) <= columns
    assert sorted(fitted.split()) == sorted(wide.split())


def test_too_narrow_a_terminal_cuts_no_number() -> None:
    shown = table([["name", "a long cell that is folded", "12,345,678"]], "<<>", 5, fold=1)
    assert "12,345,678" in shown


def test_a_pasted_path_is_no_flag_and_one_word() -> None:
    assert pasteable(Path("out")) == "out"
    assert pasteable(Path("my runs")) == "'my runs'"
    assert pasteable(Path("-o")) == "./-o"


def test_colours_go_to_a_terminal_that_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert paint("new", "green", Terminal()) == "\x1b[32mnew\x1b[0m"
    assert paint("new", "green", io.StringIO()) == "new"
    monkeypatch.setenv("NO_COLOR", "1")
    assert paint("new", "green", Terminal()) == "new"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert paint("new", "green", Terminal()) == "new"


def test_help_names_every_command_in_eighty_columns(capsys) -> None:
    run("--help")
    shown = capsys.readouterr().out
    assert "--version" in shown
    assert max(map(len, shown.splitlines())) <= 80
    for name in COMMANDS:
        assert f"\n  {name} " in shown
        assert hasattr(command(name), "run")
    modules = {path.stem for path in Path(cli.__file__).with_name("commands").glob("[a-z]*.py")}
    assert {name.replace("-", "_") for name in COMMANDS} == modules - {"flags", "sweep_results"}


def test_the_command_alone_names_three_commands_that_work(capsys) -> None:
    run()
    shown = capsys.readouterr().out
    assert [line.split()[1] for line in shown.splitlines() if line.startswith("  ")] == [
        "train",
        "sample",
        "explore",
    ]


def test_help_takes_less_than_a_fifth_of_a_second() -> None:
    code = (
        "import time, jaxmore.cli; jaxmore.cli.main(['--help']);"
        "print(time.process_time()); import sys; print('tyro' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *_, seconds, tyro = done.stdout.split()
    assert tyro == "False"
    assert float(seconds) < 0.2


def test_json_alone_means_standard_output() -> None:
    with_target = cli._with_json_targets
    assert with_target(["data", "--json"]) == ["data", "--json", "-"]
    assert with_target(["data", "--json", "-i", "f"]) == ["data", "--json", "-", "-i", "f"]
    assert with_target(["data", "--json", "f.json"]) == ["data", "--json", "f.json"]
    assert with_target(["data", "--json", "-"]) == ["data", "--json", "-"]


def test_json_is_all_that_is_printed(tmp_path, capsys) -> None:
    words = tmp_path / "words.txt"
    words.write_text("\n".join(WORDS), encoding="utf-8")
    out = tmp_path / "out"
    run("train", "-i", words, "-o", out, *SMALL)
    ended = capsys.readouterr().out
    for next_command in ("sample", "evaluate", "explore"):
        assert f"jaxmore {next_command} -o {out}" in ended
    run("evaluate", "-o", out, "--json")
    evaluated = json.loads(capsys.readouterr().out)
    assert set(evaluated["splits"]) == {"train", "dev", "test"}
    assert f"train {evaluated['splits']['train']['loss']:.4f}" in ended
    run("sample", "-o", out, "-n", "3", "--json")
    sampled = json.loads(capsys.readouterr().out)
    shown = [
        line.partition(" ")[0]  # an empty word's line begins with spaces
        for line in ended.splitlines()
        if line.endswith((" new", "train", "test"))
    ]
    assert [word["word"] for word in sampled["words"]] == shown[:3]
    run("data", "-i", words, "--json", tmp_path / "data.json")
    assert "36 words" in capsys.readouterr().out
    assert json.loads((tmp_path / "data.json").read_text(encoding="utf-8"))["words"] == len(WORDS)


@pytest.mark.slow
def test_sweep_prints_what_it_writes(tmp_path, capsys) -> None:
    words = tmp_path / "words.txt"
    words.write_text("\n".join(WORDS), encoding="utf-8")
    flags = ["--n-embd2", "9", "--max-steps", "9", "-b", "5", "--seed", "1,2", "--json"]
    run("sweep", "-i", words, "-o", tmp_path / "out", *flags)
    assert json.loads(capsys.readouterr().out) == json.loads(
        (tmp_path / "out" / "sweep.json").read_bytes()
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_train_in_a_terminal_shows_loss_speed_and_time_left(tmp_path) -> None:
    (tmp_path / "words.txt").write_text("\n".join(WORDS), encoding="utf-8")
    ours, theirs = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TTY_COMPATIBLE")}
    flags = ["-i", "words.txt", "--max-steps", "12000", "-b", "5", "--n-embd2", "9"]
    with subprocess.Popen(
        [sys.executable, "-m", "jaxmore", "train", *flags],
        stdout=theirs,
        stderr=theirs,
        cwd=tmp_path,
        env=environment | {"TERM": "xterm-256color", "COLUMNS": "100"},
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:
                break
            if not part:
                break
            shown += part
    os.close(ours)
    text = shown.decode()
    assert process.returncode == 0, text
    assert "of 12,000 steps" in text
    assert "steps/s" in text
    assert "0:00:0" in text
    assert "\x1b[32mnew" in text or "\x1b[2min train" in text


def test_tensorboard_gets_the_lines_of_the_metrics(tmp_path, capsys) -> None:
    pytest.importorskip("tensorboardX", reason="an extra: jaxmore[tensorboard]")
    from tensorboardX.proto.event_pb2 import Event

    words = tmp_path / "words.txt"
    words.write_text("\n".join(WORDS), encoding="utf-8")
    out = tmp_path / "out"
    run("train", "-i", words, "-o", out, *SMALL, "--tensorboard")
    assert "tensorboard --logdir" in capsys.readouterr().out
    content = b"".join(path.read_bytes() for path in (out / "tensorboard").iterdir())
    found: dict[tuple[str, int], float] = {}
    while content:
        size = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + size])
        for value in event.summary.value:
            found[value.tag, event.step] = value.simple_value
        content = content[16 + size :]
    lines = [
        json.loads(line)
        for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    for line in lines[:-1]:
        assert found["loss/batches", line["step"]] == pytest.approx(line["loss"])
        for path, ratio in line["update_to_data"].items():
            assert found[f"update_to_data/{path}", line["step"]] == pytest.approx(ratio, rel=1e-5)
    assert len(found) == sum(1 + len(line["update_to_data"]) for line in lines[:-1])
