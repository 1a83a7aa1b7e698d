"""Training on a pack: the bits of the same words in memory, stopped or not."""

import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmore
from jaxmore.data import PackedExamples, Vocabulary, open_pack, sequences, split_words, write_pack
from jaxmore.errors import InputError
from jaxmore.layers import Chain
from jaxmore.runs.config import TrainConfig
from jaxmore.runs.metrics import Metrics
from jaxmore.runs.preparation import prepare
from jaxmore.runs.trained import load
from jaxmore.training import memory
from jaxmore.training.loop import Devices, TrainState, train
from jaxmore.training.streaming import draw_indices, train_streamed
from tests.command_line import WORDS, refused, run, tree

MODEL = ["--type", "bengio", "--n-embd2", "9", "-b", "5"]  # small: it compiles fast
FLAGS = [*MODEL, "--max-steps", "60", "--chunk-size", "10", "--save-every", "0"]
DOUBLING = [*FLAGS[:-2], "--learning-rate", "1e38", "--save-every", "0"]


@pytest.fixture(scope="module")
def pack(words: Path) -> Path:
    """A small pack: split as the words are in memory."""
    return write_pack(words, words.with_name("words.pack")).path


@pytest.fixture(scope="module")
def whole(words: Path, tmp_path_factory) -> Path:
    """A run on the words in memory that was never stopped."""
    out = tmp_path_factory.mktemp("whole") / "out"
    run("train", "-i", words, "-o", out, *FLAGS)
    return out


def results(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("metrics.jsonl", "model.safetensors")}


def test_a_pack_trains_with_the_bits_of_its_words(whole, pack, tmp_path) -> None:
    run("train", "-i", pack, "-o", tmp_path, *FLAGS)
    assert_the_same(whole, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ["--eval-every", "24"],
        ["--diagnose", "--max-steps", "20"],
        ["--mesh", "data=1", "-b", "8", "--chunk-size", "7"],
    ],
    ids=["evaluated", "diagnose", "mesh"],
)
def test_with_other_flags_too(words, pack, tmp_path, flags) -> None:
    run("train", "-i", words, "-o", tmp_path / "a", *FLAGS, *flags)
    run("train", "-i", pack, "-o", tmp_path / "b", *FLAGS, *flags)
    assert_the_same(tmp_path / "a", tmp_path / "b")


def assert_the_same(of_words: Path, of_pack: Path) -> None:
    assert results(of_words) == results(of_pack)
    first, second = load(of_words), load(of_pack)
    assert first.record["losses"] == second.record["losses"]
    assert jaxmore.evaluate(second) == second.record["losses"]


@pytest.mark.slow
def test_whole_words_of_a_pack_train_with_their_bits(words, pack) -> None:
    """makemore.py's split is another, so the engine is given the words of the pack."""
    config = TrainConfig(type="bigram", max_steps=9, batch_size=4, chunk_size=4)
    prepared = prepare(config, pack)
    assert prepared.packed is not None
    assert [*prepared.data] == ["train", "dev", "test"]
    X, Y = sequences(split_words(WORDS).train, Vocabulary.from_words(WORDS), 6)
    arguments = prepared.model, prepared.optimizer
    steps = {"batch_size": 4, "max_steps": 9, "chunk_size": 4, "pauses": [3]}
    place, begin = prepared.devices.place, prepared.devices.begin
    key, state = prepared.keys[1], prepared.first_state()
    a = train(*arguments, begin(state), *place((X, Y)), key, **steps)
    b = train_streamed(
        *arguments, begin(state), prepared.packed, key, **steps, devices=prepared.devices
    )
    for ours, theirs in zip(b, a, strict=True):
        assert ours.step == theirs.step
        assert ours.update_to_data == theirs.update_to_data
        np.testing.assert_array_equal(ours.losses, theirs.losses)


def test_killed_within_an_epoch_and_resumed_ends_as_the_whole_run(
    whole, pack, tmp_path, monkeypatch, capsys
) -> None:
    add = Metrics.add

    class Killed(BaseException):
        """The process is gone."""

    def add_until(self: Metrics, chunk, *losses) -> None:
        if chunk.step > 40:
            raise Killed
        add(self, chunk, *losses)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "add", add_until)
        with pytest.raises(Killed):
            run("train", "-i", pack, "-o", out, *FLAGS)
    capsys.readouterr()
    run("train", "--resume", "-o", out, "--chunk-size", "9")
    assert "resumed after step" in capsys.readouterr().out
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_a_run_that_diverges_names_the_same_variable(words, pack, tmp_path, capsys) -> None:
    lines = [
        refused_while_training(capsys, "train", "-i", data, "-o", tmp_path / data.name, *DOUBLING)
        for data in (words, pack)
    ]
    first, second = (line.split("(")[0] for line in lines)
    assert "first to turn NaN or infinite" in first
    assert first == second


def refused_while_training(capsys, *args: object) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit):
        run(*args)
    return capsys.readouterr().err


@pytest.mark.slow
def test_what_a_pack_cannot_do_is_refused_in_one_line(words, pack, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    assert "with --unique" in refused(capsys, "train", "-i", pack, "-o", out, "--unique")
    assert "--unique needs --pack" in refused(capsys, "data", "-i", words, "--unique")
    assert "longest word" in refused(
        capsys, "train", "-i", pack, "-o", out, "--type", "mlp", "--block-size", "3"
    )
    assert not out.exists()


def test_who_reads_words_from_memory_refuses_a_pack_before_it_is_hashed(
    words, tmp_path, capsys
) -> None:
    damaged = write_pack(words, tmp_path / "damaged.pack").path
    out = tmp_path / "out"
    run("train", "-i", damaged, "-o", out, *MODEL, "--max-steps", "10")
    (damaged / "train.ids").write_bytes(b"")
    before, sweep = tree(tmp_path), tmp_path / "sweep"
    for command in (
        ["sweep", "-i", damaged, "-o", sweep, *FLAGS[:6]],
        ["find-lr", "-i", damaged, "-o", sweep],
        ["explore", "-i", damaged, "--page", tmp_path / "page.html"],
        ["explore", "-o", out],
        ["explore", "-i", damaged, "-o", out],
        ["ngram", "-i", damaged],
    ):
        line = refused(capsys, *command)
        assert line == f"jaxmore: '{damaged}' is a pack: give the text file of its words\n"
    assert tree(tmp_path) == before


@pytest.mark.parametrize("kind", ["words", "pack", "list"])
def test_only_a_text_file_that_may_be_packed_is_advised_to_be(
    kind, words, pack, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 1)
    data = {"words": words, "pack": pack, "list": WORDS}[kind]
    with pytest.raises(InputError, match=r"needs at least .* or file") as no:
        prepare(TrainConfig(type="bengio"), data)
    assert str(no.value).endswith(", or a pack of it") == (kind == "words")
    if kind == "words":
        line = refused(capsys, "sweep", "-i", words, "-o", tmp_path / "sweep", *FLAGS[:6])
        assert line.endswith("--chunk-size or file\n")


@pytest.mark.slow
def test_a_pack_that_was_changed_is_not_trained_on(words, pack, tmp_path, capsys) -> None:
    other = write_pack(words, tmp_path / "other.pack").path
    out = tmp_path / "out"
    run("train", "-i", other, "-o", out, *MODEL, "--max-steps", "10", "--schedule", "constant")
    before = tree(out)
    ids = other / "train.ids"
    ids.write_bytes(ids.read_bytes()[:-1])
    assert "train.ids has" in refused(capsys, "train", "--resume", "-o", out)
    words = tmp_path / "words.txt"
    words.write_text("\n".join(reversed(WORDS)), "utf-8")
    another = write_pack(words, tmp_path / "another.pack").path
    line = refused(capsys, "train", "--resume", "-o", out, "-i", another)
    assert "is not the file that the run began with" in line
    assert tree(out) == before


def test_the_command_packs_and_tells(words, tmp_path, capsys) -> None:
    run("data", "-i", words, "--pack", tmp_path / "p")
    packed = capsys.readouterr().out
    run("data", "-i", tmp_path / "p")
    assert capsys.readouterr().out == packed
    assert packed.splitlines()[1:] == [
        f"{len(WORDS)} words, up to 5 long",
        "10 characters: aeiklmnort",
    ]


def test_batches_are_made_while_the_device_computes(pack) -> None:
    n_chunks, made = 5, [threading.Event() for _ in range(5)]

    class Watched(PackedExamples):
        def __getitem__(self, at):
            next(event for event in made if not event.is_set()).set()
            return super().__getitem__(at)

    def run_chunk(model, optimizer, state, X, Y, key, start, *, batch_size, n_steps):
        following = int(start) // n_steps + 1
        assert following == n_chunks or made[following].wait(timeout=60)
        return state, jnp.zeros(n_steps), {}, jnp.zeros(batch_size)

    chunks = train_streamed(
        Chain(),
        optax.sgd(0.1),
        TrainState({}, ()),
        Watched(open_pack(pack), "train", True, 3),
        jax.random.key(0),
        batch_size=4,
        max_steps=2 * n_chunks,
        chunk_size=2,
        devices=Devices(run_chunk),
    )
    assert [chunk.step for chunk in chunks] == [2, 4, 6, 8, 10]


def test_draws_beyond_31_bits_depend_on_the_step_alone() -> None:
    key, n = jax.random.key(7), 2**33
    drawn = np.asarray(draw_indices(key, 0, 50, 4, n))
    assert drawn.dtype == np.int64
    assert 2**31 < drawn.max() < n
    assert drawn.min() >= 0
    np.testing.assert_array_equal(draw_indices(key, 20, 3, 4, n), drawn[20:23])
