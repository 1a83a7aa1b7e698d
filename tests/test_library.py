"""The library does what the commands do: fit, save, load, sample, evaluate; and the example."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

import jaxmore
from jaxmore.errors import InputError
from jaxmore.layers import Chain, Embedding, Flatten, Layer, Linear, by_path
from tests.command_line import WORDS, run

EXAMPLE = Path(__file__).parents[1] / "examples" / "train.py"
FLAGS = {"max_steps": 40, "batch_size": 5, "chunk_size": 20}
SMALL = FLAGS | {"n_embd2": 9}


@pytest.fixture
def words_file(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("\n".join(WORDS), encoding="utf-8")
    return path


def same_bits(a: jaxmore.Trained, b: jaxmore.Trained) -> None:
    for ours, theirs in ((a.params, b.params), (a.stats, b.stats)):
        assert by_path(ours).keys() == by_path(theirs).keys()
        for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("type", ["mlp-bn", "gru"])
@pytest.mark.quick("mlp-bn")
def test_fit_has_the_bits_of_train(type: str, words_file: Path, tmp_path: Path, capsys) -> None:
    out, shell = tmp_path / "out", [part for k, v in SMALL.items() for part in (f"--{k}", v)]
    in_memory = jaxmore.fit(WORDS, type, **SMALL)
    on_disk = jaxmore.fit(words_file, type, work_dir=tmp_path / "library", **SMALL)
    assert capsys.readouterr() == ("", "")
    run("train", "-i", words_file, "-o", out, "--type", type, *shell)
    trained = jaxmore.load(out)
    same_bits(in_memory, trained)
    same_bits(on_disk, trained)
    assert in_memory.record["losses"] == trained.record["losses"]
    assert {p.name for p in (tmp_path / "library").iterdir()} == {p.name for p in out.iterdir()}
    capsys.readouterr()
    run("sample", "-o", out, "-n", 4, "--prompt", "m", "--temperature", 0.7, "--top_k", 3)
    shown = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert shown == jaxmore.sample(in_memory, 4, prompt="m", temperature=0.7, top_k=3)
    run("evaluate", "-o", out)
    shown = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert shown == [[k, f"{v:.4f}"] for k, v in jaxmore.evaluate(trained).items()]
    assert jaxmore.evaluate(in_memory, WORDS) == trained.record["losses"]


def test_fit_in_memory_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    jaxmore.fit(WORDS, eval_every=20, sample_every=20, **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_fit_keeps_the_best_and_stops_without_patience(tmp_path: Path) -> None:
    flags = {"max_steps": 2000, "batch_size": 9, "learning_rate": 0.5, "schedule": "constant"}
    trained = jaxmore.fit(WORDS, "bengio", n_embd2=30, eval_every=40, patience=3, **flags)
    again = jaxmore.fit(
        WORDS, "bengio", n_embd2=30, eval_every=40, patience=3, work_dir=tmp_path, **flags
    )
    same_bits(trained, again)
    metrics = [
        json.loads(line)
        for line in (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    losses = {line["step"]: line["losses"]["dev"] for line in metrics if "losses" in line}
    assert trained.record["losses"]["dev"] == min(losses.values())
    assert max(losses) == trained.record["training"]["step"] + 3 * 40


@pytest.mark.slow
def test_a_run_in_a_folder_is_resumed(tmp_path: Path) -> None:
    whole = jaxmore.fit(WORDS, schedule="constant", **FLAGS)
    flags = FLAGS | {"work_dir": tmp_path, "schedule": "constant"}
    jaxmore.fit(WORDS, **flags | {"max_steps": 20})
    same_bits(whole, jaxmore.fit(WORDS, resume=True, **flags))
    with pytest.raises(InputError, match="--overwrite replaces it"):
        jaxmore.fit(WORDS, **flags)


@dataclass(frozen=True)
class Double(Layer):
    """y = 2 x, a layer of one's own."""

    def init(self, key):
        return {}

    def fwd(self, params, x, key=None):
        return 2 * x, ()

    def bwd(self, params, res, dy):
        return {}, 2 * dy


@pytest.mark.slow
def test_a_model_of_ones_own_is_trained_saved_and_loaded(tmp_path: Path) -> None:
    size = jaxmore.Vocabulary.from_words(WORDS).size
    windows = Chain(
        embedding=Embedding(size, 4), flatten=Flatten(3), double=Double(), head=Linear(12, size)
    )
    sequences = Chain(embedding=Embedding(size, 4), double=Double(), head=Linear(4, size))
    for model, reads in ((windows, "windows"), (sequences, "sequences")):
        folder = tmp_path / reads
        trained = jaxmore.fit(WORDS, model=model, work_dir=folder, **FLAGS)
        assert (trained.type, trained.reads) == ("custom", reads)
        loaded = jaxmore.load(folder, model=model)
        same_bits(trained, loaded)
        if reads == "windows":
            assert jaxmore.sample(loaded, 3) == jaxmore.sample(trained, 3)
        assert jaxmore.evaluate(loaded, WORDS) == trained.record["losses"]
        with pytest.raises(InputError, match=r"load\(path, model=...\)"):
            jaxmore.load(folder)
        with pytest.raises(InputError, match="it is Chain"):
            jaxmore.load(folder, model=Chain(head=Linear(1, 2)))


@pytest.mark.slow
def test_resuming_a_model_of_ones_own_keeps_its_best(tmp_path: Path) -> None:
    size = jaxmore.Vocabulary.from_words(WORDS).size
    model = Chain(embedding=Embedding(size, 4), flatten=Flatten(3), head=Linear(12, size))
    flags = {"model": model, "work_dir": tmp_path, "eval_every": 20, "schedule": "constant"}
    first = jaxmore.fit(WORDS, max_steps=40, learning_rate=0.1, batch_size=9, **flags)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    config["losses"]["dev"] = 0.0  # no later model is better
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    best = jaxmore.fit(WORDS, max_steps=80, learning_rate=0.1, batch_size=9, resume=True, **flags)
    assert best.record["losses"]["dev"] == 0.0
    same_bits(best, first)


@pytest.fixture(scope="module")
def bigram() -> jaxmore.Trained:
    return jaxmore.fit(WORDS, "bigram", **FLAGS)


def test_no_words_are_no_matter_of_memory(bigram: jaxmore.Trained) -> None:
    assert jaxmore.sample(bigram, 0) == []


def test_a_seed_out_of_range_is_named(bigram: jaxmore.Trained) -> None:
    with pytest.raises(InputError, match="--seed must lie in"):
        jaxmore.sample(bigram, seed=-1)


def test_save_and_load(bigram: jaxmore.Trained, tmp_path: Path) -> None:
    jaxmore.save(bigram, tmp_path / "deep" / "inside")
    loaded = jaxmore.load(tmp_path / "deep" / "inside")
    same_bits(bigram, loaded)
    assert loaded._replace(params={}, stats={}) == bigram._replace(params={}, stats={})
    with pytest.raises(InputError, match="a list of words"):
        jaxmore.evaluate(loaded)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"words": WORDS, "type": "mlpbn"}, "no model type 'mlpbn'"),
        ({"words": [*WORDS, ""]}, "none of them empty"),
        ({"words": [*WORDS, 3]}, "list of strings"),
        ({"words": ["ava"]}, "split is empty"),
        ({"words": Path("nowhere.txt")}, "cannot read"),
        ({"words": WORDS, "learning_rate": -1.0}, "--learning-rate must be positive"),
    ],
)
def test_what_cannot_be_fitted_is_named(arguments, message) -> None:
    # The hook of the tests looks at one random word, so it may be the first to see the 3.
    with pytest.raises((InputError, TypeCheckError), match=rf"{message}|Sequence\[str\]"):
        jaxmore.fit(**arguments)
    with pytest.raises(TypeError):
        jaxmore.fit(WORDS, max_step=3)


def test_many_samples_come_in_batches(
    bigram: jaxmore.Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = jaxmore.sample(bigram, 20)
    assert words[:7] != words[7:14]
    monkeypatch.setattr("jaxmore.training.sampling.AT_ONCE", 7)
    assert jaxmore.sample(bigram, 20) == words


@pytest.mark.slow
def test_the_example_trains(tmp_path: Path) -> None:
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 40
    path = tmp_path / "words.txt"
    path.write_text("\n".join(WORDS), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, EXAMPLE, path], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    *steps, dev = done.stdout.splitlines()
    losses = [float(line.rpartition(" ")[2]) for line in steps]
    assert len(losses) == 4
    assert max(losses) < 1.5  # ln 13 = 2.6 at random
    assert 0 < float(dev.removeprefix("dev ")) < jnp.inf
