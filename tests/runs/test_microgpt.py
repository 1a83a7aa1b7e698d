"""``--type microgpt``: the settings of Karpathy's program, word for word."""

import jax
import numpy as np
import pytest

import jaxmore
from jaxmore.data import Vocabulary, cut_sequences
from jaxmore.layers import by_path
from jaxmore.runs.config import TrainConfig
from jaxmore.runs.inference import sample
from jaxmore.runs.preparation import prepare, resolve_settings
from jaxmore.training.optimizers import learning_rates
from tests.command_line import WORDS, run
from tests.faults.harness import samples


@pytest.fixture(scope="module")
def trained() -> jaxmore.Trained:
    return jaxmore.fit(WORDS, "microgpt", max_steps=3)


def test_the_defaults_are_the_originals() -> None:
    settings = resolve_settings(TrainConfig(type="microgpt"), "sequences")
    assert settings[:6] == (1_000, 1, "adam", 0.01, 0.0, "linear")
    rates = learning_rates(settings.schedule, settings.learning_rate, settings.max_steps)
    for step in (0, 1, 500, 999):
        assert float(rates(step)) == pytest.approx(0.01 * (1 - step / 1000), abs=1e-9)


def test_a_flag_wins_over_a_default() -> None:
    config = TrainConfig(type="microgpt", batch_size=8, optimizer="sgd", schedule="constant")
    settings = resolve_settings(config, "sequences")
    assert settings[:6] == (1_000, 8, "sgd", 0.1, 0.0, "constant")


def test_sizes_do_not_depend_on_the_words() -> None:
    """27 characters give 4,192 parameters, of a block size of 16, however long the words are."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    for words in ([*letters] * 2, [letters] * 12):
        prepared = prepare(TrainConfig(type="microgpt"), words)
        sizes = {"block_size": 16, "n_layer": 1, "n_head": 4, "n_embd": 16}
        assert prepared.options == sizes
        params = prepared.first_state().params
        assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 4192
        for path, leaf in by_path(params).items():
            assert 0.065 < np.asarray(leaf).std() < 0.095, path
        assert prepared.data["train"][0].shape[1] == 16


def test_a_long_word_is_cut_as_in_the_original() -> None:
    """n = min(block_size, len(tokens) − 1) places, each with the token that follows it."""
    words = ["ab" * 8, "ab" * 9, "ab" * 7 + "a", "b"]
    X, Y = cut_sequences(words, Vocabulary("ab"), 16)
    for word, x, y in zip(words, X, Y, strict=True):
        tokens = [0, *("ab".index(c) + 1 for c in word), 0]
        n = min(16, len(tokens) - 1)
        assert x[:n].tolist() == tokens[:n]
        assert y.tolist() == tokens[1 : n + 1] + [-1] * (16 - n)


@pytest.mark.slow
def test_words_of_any_length_train_and_evaluate() -> None:
    words = [word * 9 for word in WORDS]
    trained = jaxmore.fit(words, "microgpt", max_steps=3)
    assert trained.options["block_size"] == 16
    again = jaxmore.evaluate(trained, words)
    assert again == trained.record["losses"]
    assert max(map(len, jaxmore.sample(trained, 20))) <= 16


def test_samples_have_a_temperature_of_one_half_unless_another_is_named(
    trained, tmp_path, capsys
) -> None:
    half, one = (sample(trained, 40, temperature=t) for t in (0.5, 1.0))
    assert sample(trained, 40) == half != one
    jaxmore.save(trained, tmp_path)
    for flags, expected in ([], half), (["--temperature", "1"], one):
        run("sample", "-o", tmp_path, "-n", "40", *flags)
        assert capsys.readouterr().out.splitlines() == expected


def test_the_command_trains_the_model_that_fit_does(trained, tmp_path, capsys) -> None:
    words = tmp_path / "words.txt"
    words.write_text("\n".join(WORDS), encoding="utf-8")
    out = tmp_path / "out"
    run("train", "-i", words, "-o", out, "--type", "microgpt", "--max-steps", "3")
    loaded = jaxmore.load(out)
    assert loaded.record["training"] == trained.record["training"]
    for path, leaf in by_path(loaded.params).items():
        np.testing.assert_array_equal(leaf, by_path(trained.params)[path], err_msg=path)
    drawn = [line[:20].rstrip() for line in samples(capsys.readouterr().out)]
    assert drawn == sample(trained, 20, seed=3407)
