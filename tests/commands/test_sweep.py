"""Sweeps: each run is that of ``jaxmore train``; lists of flags; the table; refusals."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxmore.commands.sweep import parse_list, train_all
from jaxmore.commands.sweep_results import Result, format_table
from jaxmore.errors import InputError
from jaxmore.models import bengio
from jaxmore.runs.config import TrainConfig
from jaxmore.runs.preparation import prepare, resolve_settings
from jaxmore.runs.trained import load
from jaxmore.training.memory import check_memory
from jaxmore.training.optimizers import make_optimizer
from jaxmore.training.sweeps import spread
from tests.command_line import WORDS, refused, run

SMALL = ["--n-embd2", "9", "--max-steps", "40", "--chunk-size", "20", "-b", "5"]


@pytest.fixture
def words_file(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return path


@pytest.mark.slow
def test_each_run_has_the_bits_of_train(words_file, tmp_path, capsys) -> None:
    out, one = tmp_path / "out", tmp_path / "one"
    lists = ["--learning-rate", "0.05,0.2", "--weight-decay", "0,0.01", "--seed", "3,0:2"]
    run("sweep", "-i", words_file, "-o", out, *SMALL, *lists)
    assert "lowest dev: --learning-rate" in capsys.readouterr().out
    assert (out / "sweep.png").read_bytes().startswith(b"\x89PNG")
    swept = json.loads((out / "sweep.json").read_text(encoding="utf-8"))
    assert swept["steps"] == [20, 40]
    runs = {(r["learning_rate"], r["weight_decay"], r["seed"]): r for r in swept["runs"]}
    assert list(runs) == [(r, w, s) for r in (0.05, 0.2) for w in (0, 0.01) for s in (3, 0, 1)]
    assert len({r["losses"]["dev"] for r in runs.values()}) == len(runs)
    for rate, decay, seed in [(0.2, 0.01, 1), (0.05, 0.0, 3)]:
        flags = ["-l", rate, "-w", decay, "--seed", seed, "--overwrite"]
        run("train", "-i", words_file, "-o", one, *SMALL, *flags)
        losses = load(one).record["losses"]
        lines = [
            json.loads(line)
            for line in (one / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        assert runs[rate, decay, seed]["losses"] == {k: losses[k] for k in ("train", "dev")}
        assert runs[rate, decay, seed]["curve"] == [line["loss"] for line in lines[:2]]


@pytest.mark.slow
def test_runs_that_are_spread_over_devices_have_the_bits_of_one(words_file, tmp_path) -> None:
    flags = ["sweep", "-i", words_file, *SMALL, "--seed", "0:5"]
    run(*flags, "-o", tmp_path / "one")
    several = [*flags, "-o", tmp_path / "several", "--cpu-devices", "3"]
    subprocess.run([sys.executable, "-m", "jaxmore", *map(str, several)], check=True)
    assert runs_of(tmp_path / "several") == runs_of(tmp_path / "one")


@pytest.mark.slow
def test_processes_share_the_runs_and_one_that_dies_loses_what_it_was_training(
    words_file, tmp_path, monkeypatch, capsys
) -> None:
    out, flags = tmp_path / "out", ["sweep", "-i", words_file, *SMALL, "--seed", "0:5"]
    run(*flags, "-o", tmp_path / "one")
    share = [*flags, "-o", out, "--num-processes", "2", "--process-id"]
    with monkeypatch.context() as patched:
        patched.setattr("jaxmore.commands.sweep.train_all", one_and_a_half)
        with pytest.raises(SystemExit):
            run(*share, 1)
    run(*share, 0)
    assert "4 of 5 runs done; the last process joins them" in capsys.readouterr().out
    assert [r["seed"] for r in runs_of(out / "process-0-of-2")] == [0, 2, 4]
    assert [r["seed"] for r in runs_of(out / "process-1-of-2")] == [1]
    assert not (out / "sweep.json").exists()
    for other in (["-b", 6], ["--seed", "0:4"], ["--chunk-size", 10]):
        assert "sweep.json belongs to another sweep" in refused(capsys, *share, 1, *other)
    run(*share, 1)
    assert "\n1 runs of 40 steps" in capsys.readouterr().out
    assert runs_of(out) == runs_of(tmp_path / "one")
    for folder in (out, out / "process-0-of-2"):
        swept = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
        assert swept["flags"]["work_dir"] == str(out)
    assert (out / "sweep.png").exists()
    # Another sweep replaces it share by share, and is whole when both have trained.
    another = [*share[:-1], "--seed", "5:9", "--overwrite", "--process-id"]
    run(*another, 0)
    assert len(runs_of(out)) == 5
    run(*another, 1)
    assert [r["seed"] for r in runs_of(out)] == [5, 6, 7, 8]


@pytest.mark.slow
def test_a_share_deletes_nothing_and_names_a_damaged_one(words_file, tmp_path, capsys) -> None:
    share = ["sweep", "-i", words_file, *SMALL, "--seed", "0:2", "--num-processes", "2"]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("mine", encoding="utf-8")
    asked = [*share, "-o", tmp_path / "run", "--process-id", "0", "--overwrite"]
    assert "holds a trained model" in refused(capsys, *asked)
    damaged = tmp_path / "out" / "process-0-of-2"
    damaged.mkdir(parents=True)
    (damaged / "sweep.json").write_text("{", encoding="utf-8")
    asked = [*share, "-o", tmp_path / "out", "--process-id", "1"]
    assert "sweep.json is damaged" in refused(capsys, *asked)


def runs_of(folder: Path) -> list[dict]:
    return json.loads((folder / "sweep.json").read_text(encoding="utf-8"))["runs"]


def test_an_error_ends_the_others_and_is_told() -> None:
    def fail(n: float) -> Iterator[float]:
        yield n
        raise ValueError(n)

    with pytest.raises(ValueError, match="7"):
        list(spread(fail, [7, 8]))


def test_a_result_that_is_not_asked_for_is_not_computed_to_its_end() -> None:
    def count(n: float) -> Iterator[int]:
        i = 0
        while i < n:
            i += 1
            yield i

    results = spread(count, [3, float("inf")])
    assert next(results) == 3
    results.close()  # it would wait for infinity


@pytest.mark.slow
def test_muon_sweeps_as_it_trains(words_file, tmp_path) -> None:
    flags = ["-i", words_file, *SMALL, "--optimizer", "muon", "-w", "0.01"]
    run("sweep", "-o", tmp_path / "out", *flags, "-l", "0.02,0.01")
    run("train", "-o", tmp_path / "one", *flags, "-l", "0.01")
    _, swept = json.loads((tmp_path / "out" / "sweep.json").read_text(encoding="utf-8"))["runs"]
    losses = load(tmp_path / "one").record["losses"]
    assert swept["losses"] == {name: losses[name] for name in ("train", "dev")}


@pytest.mark.slow
def test_together_and_one_after_another_agree(words_file) -> None:
    """AdamW, and more than one chunk: the vmapped program of an accelerator, tried on the CPU."""
    config = TrainConfig(type="mlp", n_embd=3, n_embd2=5, max_steps=40, chunk_size=20)
    task = prepare(config, words_file)
    varied = [(1e-3, 0.0, 1), (1e-2, 0.1, 1), (1e-2, 0.1, 2)]
    tasks = [
        task._replace(
            settings=resolve_settings(config, "sequences")._replace(
                learning_rate=rate, weight_decay=decay, seed=seed
            )
        )
        for rate, decay, seed in varied
    ]
    results = [list(train_all(tasks, together=together)) for together in (True, False)]
    for (params, curve), (expected, expected_curve) in zip(*results, strict=True):
        np.testing.assert_allclose(curve, expected_curve, rtol=1e-5)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), params, expected)
    curves = [curve for _, curve in results[0]]
    assert len(curves[0]) == 2
    assert abs(curves[0][1] - curves[1][1]) > 1e-3  # the settings are not one


def test_the_table_takes_the_mean_over_seeds_and_tells_what_diverged() -> None:
    losses = {0.1: [(2.0, 2.1), (2.2, 2.5)], 0.3: [(1.0, 1.1), (1.0, None)]}
    runs = [
        Result(rate, 0.0, 1, {"train": train, "dev": dev}, [3.0])
        for rate, pairs in losses.items()
        for train, dev in pairs
    ]
    _, first, second, best = format_table(runs).splitlines()
    assert first.split() == ["0.1", "0", "2", "2.1000", "±", "0.1414", "2.3000", "±", "0.2828"]
    assert second.split() == ["0.3", "0", "2", "1.0000", "1.1000", "1", "diverged"]
    assert best == "lowest dev: --learning-rate 0.1 --weight-decay 0"


@pytest.mark.slow
def test_a_diverged_run_does_not_stop_the_others(words_file, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    flags = ["--type", "bengio", "--learning-rate", "0.1,1e38"]
    run("sweep", "-i", words_file, "-o", out, *SMALL, *flags)
    assert "lowest dev: --learning-rate 0.1" in capsys.readouterr().out
    good, bad = json.loads((out / "sweep.json").read_text(encoding="utf-8"))["runs"]
    assert good["losses"]["dev"] < 3
    assert bad["losses"] == {"train": None, "dev": None}
    assert (out / "sweep.png").exists()


def test_a_flag_that_is_not_given_is_the_default_of_each_run() -> None:
    assert parse_list("learning_rate", None, float) == [None]


def test_the_columns_stand_below_their_names_whatever_the_losses() -> None:
    runs = [
        Result(0.1, 0.0, seed, {"train": loss, "dev": 2.0}, [3.0])
        for seed, loss in enumerate((400.0, 440.0))
    ]
    head, row, _ = format_table(runs).splitlines()
    assert row.index("420.0000 ± 28.2843") == head.index("train")
    assert row.index("2.0000 ± 0.0000") == head.index("dev")


def one_and_a_half(*args, **how) -> Iterator:
    yield next(train_all(*args, **how))
    raise KeyboardInterrupt


def test_what_is_done_when_a_sweep_is_interrupted_is_kept(
    words_file, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("jaxmore.commands.sweep.train_all", one_and_a_half)
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as stop:
        run("sweep", "-i", words_file, "-o", out, "--type", "bengio", *SMALL, "--seed", "7,8")
    assert stop.value.code == 130
    (done,) = json.loads((out / "sweep.json").read_text(encoding="utf-8"))["runs"]
    assert done["seed"] == 7


@pytest.mark.parametrize(
    ("flag", "text", "message"),
    [
        ("--seed", "", "'' is not a number"),
        ("--seed", "1,,2", "'' is not a number"),
        ("--seed", "8:8", "the range 8:8 is empty"),
        ("--seed", "9:8", "the range 9:8 is empty"),
        ("--seed", "0:4294967296", "at most 10,000 runs"),
        ("--seed", "0:1:2", "'0:1:2' is not a number"),
        ("--seed", "0:", "'0:' is not a number"),
        ("--seed", "0.5", "'0.5' is not a number"),
        ("--seed", "1,0:3", "holds a number twice"),
        ("--seed", "-1,2", "--seed must lie in"),
        ("--learning-rate", "0.1:0.3", "'0.1:0.3' is not a number"),
        ("--learning-rate", "0.1,0", "--learning-rate must be positive"),
        ("--learning-rate", "0.1,nan", "--learning-rate must be positive"),
        ("--weight-decay", "inf", "--weight-decay must be 0 or more"),
        ("--cpu-devices", "0", "--cpu-devices must be at least 1"),
        ("--process-id", "0", "--num-processes and --process-id need each other"),
        ("--resume", "", "--resume"),
    ],
)
def test_refusals_are_one_line_and_change_nothing(
    words_file, tmp_path, capsys, flag, text, message
) -> None:
    with pytest.raises(SystemExit) as stop:
        run("sweep", "-i", words_file, "-o", tmp_path / "out", f"{flag}={text}")
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--num-processes 0 --process-id 0", "--num-processes must be at least 1"),
        ("--num-processes 2 --process-id 2", "--process-id must lie in 0..1, got 2"),
        (
            "--num-processes 3 --process-id 0",
            "--num-processes 3 is more than the 2 runs of the sweep",
        ),
        ("--num-processes 2 --process-id 0 --json", "--json needs one process"),
    ],
)
def test_a_share_that_cannot_be_is_refused(tmp_path, capsys, flags, message) -> None:
    asked = ["sweep", "--seed", "1,2", "-o", tmp_path / "out", *flags.split()]
    assert message in refused(capsys, *asked)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_folder_that_holds_results_is_left_alone(words_file, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "sweep.json").write_text("mine", encoding="utf-8")
    for command in "sweep", "train":
        with pytest.raises(SystemExit) as stop:
            run(command, "-i", words_file, "-o", out, *SMALL)
        assert stop.value.code == 2
        assert "holds a sweep: --overwrite" in capsys.readouterr().err
    assert (out / "sweep.json").read_text(encoding="utf-8") == "mine"
    run("sweep", "-i", words_file, "-o", out, *SMALL, "--overwrite")
    assert json.loads((out / "sweep.json").read_text(encoding="utf-8"))["runs"]


def test_too_many_runs_are_refused() -> None:
    sgd = make_optimizer("sgd", 0.1, 0.0, "constant", 9)
    check_memory(bengio(27), sgd, 100, 3, 32)
    with pytest.raises(InputError, match=r"1,000,000,000 runs at once need at least"):
        check_memory(bengio(27), sgd, 100, 3, 32, n_runs=10**9)
