"""The commands as a user runs them: what they print, what they leave, what they refuse."""

import json
import math
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import get_args

import pytest

from jaxmore import __version__, data, plots
from jaxmore.models import MODELS
from jaxmore.prove.layers import LAYERS
from jaxmore.runs.config import ModelName
from jaxmore.runs.trained import load
from jaxmore.testing.shipped import FAMILIES
from tests.command_line import WORDS, refused, run, tree


@pytest.fixture
def words_file(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A work folder with a model of ``WORDS``."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "words.txt").write_text("\n".join(WORDS), encoding="utf-8")
    run("train", "-i", folder / "words.txt", "-o", folder / "out", *SMALL)
    return folder / "out"


SMALL = ["--n-embd2", "9", "--max-steps", "40", "--chunk-size", "20", "-b", "5"]


# ------------------------------------------------------------------------------------------ train


def test_train_leaves_a_model_its_metrics_and_a_picture(words_file, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    run("train", "-i", words_file, "-o", out, *SMALL)
    printed, progress = capsys.readouterr()
    assert progress == ""  # quiet: not a terminal
    assert f"{len(WORDS)} words" in printed
    assert "hidden     Linear" in printed
    assert "in train" in printed
    assert "config.json, loss.png, metrics.jsonl, model.safetensors" in printed

    *chunks, final = [
        json.loads(line)
        for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert [chunk["step"] for chunk in chunks] == [20, 40]
    assert chunks[-1]["loss"] < chunks[0]["loss"]
    assert set(chunks[0]["update_to_data"]) >= {"embedding.weight", "head.bias", "norm.gain"}
    saved = load(out)
    assert final == {"step": 40, **saved.record["losses"]}
    assert f"dev {saved.record['losses']['dev']:.4f}" in printed
    assert saved.record["training"]["learning_rate"] == 0.1
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_train_twice_gives_the_same_model_and_overwrites_only_when_told(
    words_file, tmp_path, capsys
) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    run("train", "-i", words_file, "-o", a, *SMALL)
    run("train", "-i", words_file, "-o", b, *SMALL, "--chunk-size", "40")
    assert (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()
    before = tree(a)
    assert "--overwrite" in refused(capsys, "train", "-i", words_file, "-o", a, *SMALL)
    assert tree(a) == before
    run("train", "-i", words_file, "-o", a, *SMALL, "--overwrite", "--seed", "5")
    assert tree(a) != before


@pytest.mark.slow
def test_train_other_types_and_options(words_file, tmp_path, capsys) -> None:
    out = tmp_path / "bengio"
    flags = ["--type", "bengio", "--block-size", "4", "--n-embd", "3", "--optimizer", "adamw"]
    run("train", "-i", words_file, "-o", out, *SMALL, *flags, "--unique", "-l", "0.01", "-w", "0.1")
    saved = load(out)
    assert saved.type == "bengio"
    assert saved.options == {"block_size": 4, "n_embd": 3, "n_embd2": 9}
    assert saved.record["data"]["unique"] is True
    assert "norm" not in saved.params


def test_a_device_that_is_not_there_changes_nothing(words_file, tmp_path, capsys) -> None:
    line = refused(capsys, "train", "-i", words_file, "-o", tmp_path / "out", "--device", "abacus")
    assert "--device abacus" in line
    assert not (tmp_path / "out").exists()


def test_every_type_can_be_named_without_jax() -> None:
    assert get_args(ModelName) == tuple(MODELS)


@pytest.mark.parametrize(
    ("type", "sizes"),
    [
        ("wavenet", ["--n-embd", "3", "--n-embd2", "5", "--block-size", "4"]),
        ("gru", ["--n-embd", "3", "--n-embd2", "5"]),
        ("transformer", ["--n-embd", "4", "--n-head", "2", "--n-layer", "1"]),
    ],
)
@pytest.mark.slow
def test_the_ladder_from_training_to_samples(words_file, tmp_path, capsys, type, sizes) -> None:
    out = tmp_path / "out"
    run("train", "-i", words_file, "-o", out, "--type", type, *sizes, *SMALL[2:])
    saved = load(out)
    makemores = type != "wavenet"
    assert set(saved.record["losses"]) == {"train", "test"} | (set() if makemores else {"dev"})
    assert saved.record["training"]["optimizer"] == ("adamw" if makemores else "sgd")
    assert saved.record["training"]["seed"] == (3407 if makemores else 2147483647)
    capsys.readouterr()
    run("evaluate", "-o", out)
    printed = capsys.readouterr().out
    assert all(f"{loss:.4f}" in printed for loss in saved.record["losses"].values())
    run("sample", "-o", out, "-n", "9", "--prompt", "k")
    assert all(line.startswith("k") for line in capsys.readouterr().out.splitlines())


@pytest.mark.slow
def test_convert_there_and_back(words_file, tmp_path, capsys) -> None:
    out, back, weights = tmp_path / "out", tmp_path / "back", tmp_path / "model.pt"
    run("train", "-i", words_file, "-o", out, "--type", "bigram", *SMALL[2:])
    run("convert", "--from", out, "--to", weights)
    run("convert", "--from", weights, "--to", back, "-i", words_file)
    tensors = "model.safetensors"
    assert (out / tensors).read_bytes() == (back / tensors).read_bytes()
    assert "--overwrite" in refused(
        capsys, "convert", "--from", weights, "--to", back, "-i", words_file
    )


def test_a_size_that_the_type_does_not_have_is_named(words_file, tmp_path, capsys) -> None:
    message = refused(
        capsys, "train", "-i", words_file, "-o", tmp_path / "o", "--type", "gru", "--n-head", "2"
    )
    assert "--n-head: the type gru has no such size" in message


@pytest.mark.slow
def test_a_diverging_run_is_told(words_file, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as stop:
        run("train", "-i", words_file, "-o", out, *SMALL, "--type", "bengio", "-l", "1e38")
    err = capsys.readouterr().err
    assert stop.value.code == 2
    assert "lower --learning-rate" in err
    assert err.count("\n") == 1
    assert not (out / "config.json").exists()


@pytest.mark.slow
def test_ten_thousand_steps_reach_the_seeds_loss(seed_names, tmp_path, capsys) -> None:
    """Seed 001 printed train 2.2499 and val 2.2670 after 10,000 steps at rate 0.1."""
    names = tmp_path / "names.txt"
    names.write_text("\n".join(seed_names), encoding="utf-8")
    flags = ["--max-steps", "10000", "--schedule", "constant"]
    run("train", "-i", names, "-o", tmp_path / "out", *flags)
    losses = load(tmp_path / "out").record["losses"]
    assert losses["train"] == pytest.approx(2.2499, abs=0.02)
    assert losses["dev"] == pytest.approx(2.2670, abs=0.02)


# ---------------------------------------------------------------------- evaluate, sample, find-lr


def test_evaluate_repeats_what_training_found(trained, capsys) -> None:
    run("evaluate", "-o", trained)
    printed = capsys.readouterr().out
    for name, loss in load(trained).record["losses"].items():
        assert f"{name:5s} {loss:.4f}" in printed


def test_evaluate_on_other_words_says_so(trained, tmp_path, capsys) -> None:
    other = tmp_path / "other.txt"
    other.write_text("\n".join(WORDS[:-3]), encoding="utf-8")
    run("evaluate", "-o", trained, "-i", other)
    assert "not the file" in capsys.readouterr().err


def test_sample_marks_words_and_obeys_its_flags(trained, capsys) -> None:
    flags = ["-n", "40", "--seed", "1", "--top-k", "4", "--temperature", "0.9", "--prompt", "ta"]
    run("sample", "-o", trained, *flags)
    first = capsys.readouterr().out
    lines = first.splitlines()
    assert len(lines) == 40
    assert all(line.startswith("ta") for line in lines)
    for line in lines:
        word, mark = line.split(maxsplit=1)
        assert mark in {"in train", "in dev/test", "new"}
        assert (mark == "new") == (word not in WORDS)
    run("sample", "-o", trained, *flags)
    assert capsys.readouterr().out == first


def test_sample_without_the_words_gives_no_marks(words_file, tmp_path, capsys) -> None:
    run("train", "-i", words_file, "-o", tmp_path / "out", *SMALL)
    words_file.unlink()
    capsys.readouterr()
    run("sample", "-o", tmp_path / "out", "-n", "3")
    assert not any("new" in line for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize(("type", "optimizer"), [("bengio", "sgd"), ("bigram", "adamw")])
@pytest.mark.quick("bigram-adamw")
def test_find_lr_draws_and_suggests(words_file, tmp_path, capsys, type, optimizer) -> None:
    run("find-lr", "-i", words_file, "-o", tmp_path / "out", "-b", "5", "--type", type)
    assert f"suggested learning rate for --optimizer {optimizer}: " in capsys.readouterr().out
    assert (tmp_path / "out" / "find-lr.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_ngram_counts_learns_draws_and_makes_words(words_file, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    flags = ["--smoothing", "0", "--n-words", "9"]
    flags += ["--neural", "--steps", "5000", "-l", "10", "--penalty", "0"]
    for n, figure in (2, "bigrams.png"), (3, "trigrams.png"):
        run("ngram", "-i", words_file, "-o", out, "--n", n, *flags)
        lines = capsys.readouterr().out.splitlines()
        counted, learned = (float(line.split("all ")[-1].split(",")[0]) for line in lines[2:4])
        assert counted < learned < counted + 0.01
        assert len(lines) == 5 + 9 + 1
        for line in lines[5:-1]:  # without smoothing: all of it has been seen
            letters = line.split()[0]
            end = "." if len(letters) < 2 * max(map(len, WORDS)) else ""  # there a word is cut
            word = f"{'.' * (n - 1)}{letters}{end}"
            padded = "".join(f"{'.' * (n - 1)}{w}." for w in WORDS)
            assert all(word[i : i + n] in padded for i in range(len(word) - n + 1))
        assert (out / figure).read_bytes().startswith(b"\x89PNG")


def test_ngram_counts_words_too_few_to_be_split(tmp_path, capsys) -> None:
    (tmp_path / "one.txt").write_text("emma\n", encoding="utf-8")
    run("ngram", "-i", tmp_path / "one.txt", "-o", tmp_path, "--smoothing", "0", "--n-words", "1")
    out, err = capsys.readouterr()
    nll = 2 * math.log(2) / 5  # of e m m a and the end, only what follows m was ever in doubt
    assert f"counted over all words: all {nll:.7f}\n" in out
    assert f"counted over train words: train {nll:.7f}\n" in out
    assert err == (
        "note: 1 words split 0.8 / 0.1 / 0.1: the train split is empty: all words are train words\n"
    )


def test_an_unwritable_folder_is_told_before_the_work(
    words_file, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr("jaxmore.training.lr_search.find_learning_rate", None)
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    for command in "find-lr", "ngram":
        line = refused(capsys, command, "-i", words_file, "-o", tmp_path / "file")
        assert "cannot write to" in line


def test_ngram_prints_the_seeds_figures(seed_names, tmp_path, capsys, monkeypatch) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join(seed_names), encoding="utf-8")
    monkeypatch.setattr(plots, "save", lambda figure, path: None)  # a second each
    for smoothing, figure in (0, "2.4540145"), (1, "2.4545768"):
        run("ngram", "-i", names, "-o", tmp_path / "out", "--smoothing", smoothing)
        assert f"counted over all words: all {figure}\n" in capsys.readouterr().out


# ------------------------------------------------------------------- data, trace, check, replay


def test_trace_prints_seed_002s_lines(capsys) -> None:
    run("trace", "emma", "ava")
    assert capsys.readouterr().out.splitlines() == [
        "emma", "... ------> e", "..e ------> m", ".em ------> m", "emm ------> a", "mma ------> .",
        "ava", "... ------> a", "..a ------> v", ".av ------> a", "ava ------> .",
    ]  # fmt: skip


def test_data_names_the_words_in_use(words_file, capsys, monkeypatch) -> None:
    monkeypatch.setenv("JAXMORE_NAMES", str(words_file))
    run("data")
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == str(words_file)
    assert f"{len(WORDS)} words, {len(WORDS)} distinct, up to 5 long" in printed


def test_data_download_offline_is_one_line(capsys, monkeypatch, tmp_path) -> None:
    closed_port = partial(data.download_names, "http://127.0.0.1:9/names.txt")
    monkeypatch.setattr(data, "download_names", closed_port)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "cannot download" in refused(capsys, "data", "--download")
    assert not any(path.name == "names.txt" for path in tmp_path.rglob("*"))


@pytest.mark.slow
def test_check_prints_the_seeds_table(capsys) -> None:
    run("check")
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if "| exact:" in line]
    names = [row.split("|")[0].strip() for row in rows]
    assert len(rows) >= 2 * 28
    assert names[:3] == ["logprobs", "probs", "counts_sum_inv"]
    assert all("approximate: True" in row for row in rows)


def test_check_dump_holds_every_variable(capsys) -> None:
    run("check", "--dump")
    printed = capsys.readouterr().out
    for name in ("emb", "bnvar_inv", "logit_maxes", "dlogits", "dembcat"):
        assert name in printed


def test_check_proves_a_rule_that_ships(tmp_path, capsys) -> None:
    run("check", "--rule", "tanh", "--dtype", "float32", "--json", tmp_path / "report.json")
    assert "residuals" in capsys.readouterr().out
    (report,) = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["passed"] is True
    assert report["rows"][0]["argument"] == "x"
    assert "no rule 'nope'" in refused(capsys, "check", "--rule", "nope")
    assert "write --rule all" in refused(capsys, "check", "--prove", "all")


@pytest.mark.slow
def test_check_proves_everything_that_ships(capsys) -> None:
    run("check", "--prove", "--rule", "all")
    first = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert len(first) == len(FAMILIES) + len(LAYERS) + 26
    assert all(": proved" in line for line in first)


def test_check_finds_the_mistake_in_a_strangers_rule(tmp_path, capsys) -> None:
    rule = tmp_path / "mine.py"
    rule.write_text(
        "def scale_fwd(x, gain):\n"
        "    return x * gain, (x, gain)\n"
        "def scale_bwd(res, dy):\n"
        "    x, gain = res\n"
        "    return dy * gain, x * dy\n",
        encoding="utf-8",
    )
    with pytest.raises(SystemExit) as stop:
        run("check", f"{rule}:scale_fwd,scale_bwd", "--args", "f[5,3] f[3]")
    assert stop.value.code == 1
    printed = capsys.readouterr().out
    assert "gain: the cotangent has shape (5, 3), not (3,)" in printed
    assert "the sum over axis 0, which the forward broadcast, is missing" in printed


def test_replay_wants_the_notebooks_names(words_file, capsys) -> None:
    refused(capsys, "replay", "-i", words_file)


@pytest.mark.slow
def test_replay_prints_every_notebook(seed_names, tmp_path, capsys) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join(seed_names), encoding="utf-8")
    run("replay", "-i", names)
    printed = capsys.readouterr().out
    for figure in ("000", "001", "002", "003", "004", "228,146", "182,625", "3.5586", "12,297"):
        assert figure in printed


# ------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["-i", "{missing}"], "cannot read"),
        (["-i", "{empty}"], "empty"),
        (["-i", "{one}"], "split is empty"),
        (["-i", "{latin1}"], "not UTF-8"),
        (["-b", "1"], "--batch-size 1"),
        (["-b", "0"], "--batch-size must be at least 1"),
        (["--max-steps", "0"], "--max-steps must be at least 1"),
        (["--chunk-size", "-3"], "--chunk-size must be at least 1"),
        (["--block-size", "0"], "--block-size must be at least 1"),
        (["--n-embd2", "-1"], "--n-embd2 must be at least 1"),
        (["-l", "0"], "--learning-rate must be positive"),
        (["-l", "nan"], "--learning-rate must be positive"),
        (["-l", "inf"], "--learning-rate must be positive"),
        (["-w", "-0.1"], "--weight-decay must be 0 or more"),
        (["--seed", "-1"], "--seed must lie in"),
        (["--seed", str(2**32)], "--seed must lie in"),
        (["--type", "gpt"], "mlp-bn"),
        (["--type", "transformer", "--n-head", "3"], "n_embd 64 is not a multiple of n_head 3"),
        (["--type", "wavenet", "--block-size", "6"], "block_size 6 is not a power of two"),
        (["--max-steps", "many"], "--max-steps"),
        (["--no-such-flag"], "--no-such-flag"),
    ],
)
def test_train_refuses_in_one_line_and_changes_nothing(tmp_path, capsys, flags, message) -> None:
    files = {"empty": b"", "one": b"emma\n", "latin1": b"jos\xe9\n"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    words = tmp_path / "words"
    words.write_text("\n".join(WORDS), encoding="utf-8")
    paths = {name: tmp_path / name for name in (*files, "missing")}
    flags = [flag.format(**paths) for flag in flags]
    before = tree(tmp_path)
    given = [] if flags[0] == "-i" else ["-i", words]
    assert message in refused(capsys, "train", *given, "-o", tmp_path / "out", *flags)
    assert tree(tmp_path) == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["check", "--rule", "tanh", "--json", "mine.py"], "write the rule before --json"),
        (["fly"], "fly"),
        (["sample", "-n", "0"], "--n-words must be at least 1"),
        (["sample", "--prompt", "xyz"], "unknown character 'x'"),
        (["sample", "--temperature", "0"], "--temperature must be positive"),
        (["sample", "--temperature", "1e-46"], "--temperature must be positive"),
        (["check", "--json", "x.json"], "need a rule or a model"),
        (["check", "--rule", "tanh", "--dump"], "--dump takes no rule"),
        (["sample", "--top-k", "99"], "--top-k must lie in"),
        (["sample", "-i", "no-such-file"], "cannot read"),
        (["evaluate", "-i", "no-such-file"], "cannot read"),
        (["ngram", "--n", "4"], "--n"),
        (["ngram", "--smoothing", "-1"], "--smoothing must lie in 0..1e9"),
        (["ngram", "--smoothing", "1e308"], "--smoothing must lie in 0..1e9"),
        (["ngram", "--penalty", "nan"], "--penalty must lie in 0..1e9"),
        (["ngram", "--steps", "0"], "--steps must lie in"),
        (["ngram", "-l", "0"], "--learning-rate must be positive"),
        (["ngram", "-i", "no-such-file"], "cannot read"),
        (["trace", "ab", "--block-size", "0"], "block size must be at least 1"),
    ],
)
def test_other_commands_refuse_in_one_line(trained, capsys, args, message) -> None:
    where = ["-o", trained] if args[:1] in (["sample"], ["evaluate"]) else []
    assert message in refused(capsys, *args, *where)


@pytest.mark.parametrize("command", ["sample", "evaluate"])
def test_a_folder_without_a_model_is_named(tmp_path, capsys, command) -> None:
    assert "holds no trained model" in refused(capsys, command, "-o", tmp_path)


def test_a_file_in_the_way_is_named(words_file, capsys) -> None:
    message = refused(capsys, "train", "-i", words_file, "-o", words_file / "out", *SMALL)
    assert "cannot write" in message


# ------------------------------------------------------------------------------------- the shell


def test_help_and_version_do_not_import_jax() -> None:
    code = (
        "import sys, contextlib\n"
        "from jaxmore import cli\n"
        "for args in (['--help'], ['train', '--help'], ['--version']):\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        cli.main(args)\n"
        "assert not {'jax', 'matplotlib', 'torch'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--max-steps" in done.stdout
    assert f"jaxmore {__version__}" in done.stdout


def test_the_module_runs_as_the_command_does(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jaxmore", "sample", "-o", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("jaxmore: ")
    assert done.stderr.count("\n") == 1
