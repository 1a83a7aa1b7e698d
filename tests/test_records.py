"""The leaderboard: its entries' gradients, its checks and its verdicts; nothing is timed here."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.records import tracks, verify
from benchmarks.records.__main__ import Verify
from benchmarks.records.contexts import distinct_contexts
from benchmarks.records.entries import minute_ensemble, minute_muon, speed_folded, speed_nadam
from benchmarks.records.kneser_ney import KneserNey
from benchmarks.records.network import calibrated, random_parameters
from jaxmore import loss_and_grad, mlp_bn
from jaxmore.data import Vocabulary, context_windows, sequences
from jaxmore.layers import by_path
from jaxmore.models import MODELS
from jaxmore.training.evaluation import calibrate, mean_loss

WORDS = ["emma", "olivia", "ava", "isabella", "sophia", "mia", "ava", "emma", "emm"] * 3
VOCAB = Vocabulary.from_words(WORDS)
assert_close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
assert_trees_equal = partial(jax.tree.map, assert_close)


@pytest.mark.slow
def test_the_gradient_of_exact_distributions_is_the_mean_over_all_examples() -> None:
    X, Y = context_windows(WORDS, VOCAB, 3)
    model = MODELS["bengio"].make(VOCAB.size)  # without BatchNorm each example stands alone
    params = model.init(jax.random.key(0))
    data = distinct_contexts(WORDS, VOCAB, 3)
    np.testing.assert_array_equal(data.ids[data.which], X)
    x, q = jnp.array(X), jnp.array(data.next[data.which])
    ours = jax.jit(speed_nadam.loss_and_grad, static_argnums=0)(model, params, x, q)
    plain = jax.jit(loss_and_grad, static_argnums=0)(model, params, x, jnp.array(Y))
    assert_trees_equal(ours, plain)


def test_stratified_batches_draw_every_example_equally_often() -> None:
    ordered = np.arange(2560)  # ten in each part
    batches = speed_nadam.stratified(ordered, np.random.default_rng(0))
    assert (batches // 10 == np.arange(speed_nadam.BATCH_SIZE)).all()
    counts = np.bincount(batches.ravel(), minlength=2560)
    mean = speed_nadam.STEPS / 10
    assert (abs(counts - mean) < 6 * mean**0.5).all()


def test_weights_make_up_for_the_chance_of_being_drawn() -> None:
    data = distinct_contexts(WORDS, VOCAB, 3)
    batches, weights = speed_folded.draw(data, 16, 4000, np.random.default_rng(0))
    total = np.bincount(batches.ravel(), weights.ravel(), len(data.ids)) / 4000
    np.testing.assert_allclose(total, data.counts / data.counts.sum(), rtol=0.15)


@pytest.mark.slow
def test_folding_batch_norm_into_the_weights_gives_autodiffs_gradient() -> None:
    rng = np.random.default_rng(0)
    flat, params = speed_folded.parameters(VOCAB.size)
    dflat, grads = speed_folded.parameters(VOCAB.size)
    flat[:] = rng.normal(size=flat.shape)
    data = distinct_contexts(WORDS, VOCAB, 3)
    w = rng.uniform(0.5, 1.5, len(data.ids)).astype(np.float32)
    w /= w.sum()

    def loss(params: speed_folded.Parameters) -> jax.Array:
        C, W1, gain, bias, head = params
        u = C[data.ids].reshape(len(w), -1) @ W1
        u = u - w @ u
        h = jnp.tanh(u / jnp.sqrt(w @ u**2 + 1e-5) * gain + bias)
        logits = h @ head[:-1] + head[-1]
        return -(w[:, None] * data.next * jax.nn.log_softmax(logits)).sum()

    picks = np.eye(VOCAB.size, dtype=np.float32)[data.ids].reshape(-1, VOCAB.size)
    h, dh = np.ones((len(w), 201), np.float32), np.empty((len(w), 200), np.float32)
    speed_folded.gradient(params, grads, data.ids, picks, data.next, w, h, dh)
    expected = jax.jit(jax.grad(loss))(params)
    scale = max(abs(g).max() for g in expected)
    np.testing.assert_allclose(
        dflat, np.concatenate([g.ravel() for g in expected]), rtol=0, atol=1e-5 * scale
    )


@pytest.mark.slow
def test_the_network_in_numpy_is_the_notebooks_network() -> None:
    params = random_parameters(VOCAB.size, 0)
    model = mlp_bn(VOCAB.size)
    drawn = by_path(model.init(jax.random.key(0)))
    assert {k: x.shape for k, x in by_path(params).items()} == {
        k: x.shape for k, x in drawn.items()
    }
    X, Y = context_windows(WORDS, VOCAB, 3)
    expected = mean_loss(model, params, calibrate(model, params, X), X, Y)
    network = calibrated(VOCAB, params, distinct_contexts(WORDS, VOCAB, 3))
    assert tracks.mean_loss(network, WORDS, VOCAB) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_buckets_give_the_gradient_of_whole_rows() -> None:
    """The targets of single words are the words themselves."""
    X, Y = sequences(["ava", "isabella", "mia"], VOCAB)
    plain = MODELS["transformer"].make(VOCAB.size, block_size=9, n_layer=1, n_embd=4, n_head=2)
    params = plain.init(jax.random.key(0))
    model = minute_ensemble.bucketed(plain, ((2, 4), (1, 9)))
    tokens = [(rows[[0, 2], :4].ravel(), rows[1]) for rows in (X, Y)]
    x, y = map(np.concatenate, tokens)
    q = jax.nn.one_hot(y, VOCAB.size)
    ours = jax.jit(minute_ensemble.loss_and_grad, static_argnums=0)(
        model, params, jnp.array(x), q, jax.random.key(0)
    )
    expected = jax.jit(loss_and_grad, static_argnums=0)(plain, params, jnp.array(X), jnp.array(Y))
    assert_trees_equal(ours, expected)


def test_kneser_ney_smoothing_by_hand() -> None:
    """Of "ab" twice and "b" once.

    Counts after a boundary are plain; those of shorter contexts are of the ids that stand before.
    """
    ngrams = KneserNey(["ab", "ab", "b"], Vocabulary("ab"), 1)
    # Behind nothing: "." and "a" stand behind one id, "b" behind two; n₁ = 2, n₂ = 1, d = 1/2.
    unigram = np.array([0.5, 0.5, 1.5]) / 4 + 3 * 0.5 / 4 / 3
    # Behind ".": "a" twice, "b" once; behind "a": "b" twice; behind "b": "." three times.
    d = 1 / (1 + 2 * 2)
    begin = np.array([0, 2 - d, 1 - d]) / 3 + 2 * d / 3 * unigram
    a, b = (np.eye(3)[v] * (1 - d / n) + d / n * unigram for v, n in ((2, 2), (0, 3)))
    np.testing.assert_allclose(ngrams(["ab"]), [begin, a, b])
    # With two ids, n₁ = 2 and n₂ = 3: "." follows "ab" twice. With one, n₁ = n₂ = 2: two ids stand
    # before "b.".
    two, one = 2 / (2 + 2 * 3), 2 / (2 + 2 * 2)
    after_b = (2 - one) / 2 + one / 2 * unigram[0]
    p = KneserNey(["ab", "ab", "b"], Vocabulary("ab"), 2)(["ab", "aab"])
    assert p[2, 0] == pytest.approx((2 - two) / 2 + two / 2 * after_b)
    np.testing.assert_allclose(p.sum(1), 1)


@pytest.mark.slow
def test_dropout_is_added_to_every_branch_and_no_parameter_is() -> None:
    plain = MODELS["transformer"].make(VOCAB.size, block_size=9, n_layer=2, n_embd=4, n_head=1)
    model = minute_muon.with_dropout(plain, 0.5)
    assert repr(model).count("dropout=Dropout(rate=0.5)") == 4
    params = plain.init(jax.random.key(0))
    assert by_path(model.init(jax.random.key(0))).keys() == by_path(params).keys()
    assert minute_muon.with_dropout(plain, 0.0) == plain


@pytest.mark.slow
def test_tiny_entries_run_from_end_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_folded, "SIZES", [20] * 5 + [10] * 15)
    monkeypatch.setattr(minute_ensemble, "BATCH", (4, 2))
    monkeypatch.setattr(minute_ensemble, "WARMUP", 1)
    recipe = minute_ensemble.Recipe(2, 10, 1e-2, 1, 1, 8, dropout=0.1)
    monkeypatch.setattr(minute_ensemble.train, "__defaults__", (recipe,))
    for entry in ("speed_folded", "minute_ensemble"):
        runs = [tracks.timed(entry, seed, WORDS) for seed in (0, 1)]
        assert all(0 < run["dev"] < 4 and run["seconds"] > 0 for run in runs)
        assert runs[0]["dev"] != runs[1]["dev"]


def uniform(words: list[str]) -> np.ndarray:
    n = sum(len(word) + 1 for word in words)
    return np.full((n, VOCAB.size), -np.log(VOCAB.size), np.float32)


def knows_the_future(words: list[str]) -> np.ndarray:
    rows = uniform(words)
    if words[0] == WORDS[0]:
        rows[0] = np.log(np.eye(VOCAB.size)[1] * 0.9 + 0.1 / VOCAB.size)
    return rows


def test_a_run_that_breaks_the_rules_is_refused() -> None:
    tracks.check(uniform, WORDS, "minute")
    assert tracks.mean_loss(uniform, WORDS, VOCAB) == pytest.approx(np.log(VOCAB.size))
    with pytest.raises(SystemExit, match="Network"):
        tracks.check(uniform, WORDS, "speed")
    with pytest.raises(SystemExit, match="sum to 1"):
        tracks.check(lambda words: uniform(words) + 1, WORDS, "minute")
    with pytest.raises(SystemExit, match="sum to 1"):
        tracks.check(lambda words: uniform(words) * np.nan, WORDS, "minute")
    with pytest.raises(SystemExit, match="depends"):
        tracks.check(knows_the_future, WORDS, "minute")


def test_an_impossible_character_hides_nothing() -> None:
    """Its logarithm is −∞, and −∞ − (−∞) is NaN."""
    impossible = np.append(np.full(VOCAB.size - 1, 1 / (VOCAB.size - 1)), 0)

    def log_probs(words: list[str]) -> np.ndarray:
        rows = knows_the_future(words)
        with np.errstate(divide="ignore"):
            rows[-1] = np.log(impossible)
        return rows

    with pytest.raises(SystemExit, match="depends"):
        tracks.check(log_probs, WORDS, "minute")


def turns(ours: list[float], theirs: list[float], seconds: float = 0.5) -> list[verify.Turn]:
    return [
        verify.Turn(seed, {"seconds": seconds, "dev": a}, {"seconds": 8.0, "dev": b})
        for seed, (a, b) in enumerate(zip(ours, theirs, strict=True))
    ]


NOISE = list(np.linspace(-0.001, 0.001, 10))


@pytest.mark.parametrize(
    ("entry", "mean", "seconds", "n_seeds", "verdict"),
    [
        ("speed_folded", 2.105, 0.5, 10, "; verified"),
        ("speed_folded", 2.1103, 0.5, 10, "p is not below 0.01"),
        ("speed_folded", 2.105, 9.0, 10, "not faster than its baseline"),
        ("speed_folded", 2.105, 0.5, 9, "9 of 10 seeds"),
        ("minute_ensemble", 1.95, 50.0, 10, "; verified"),
        ("minute_ensemble", 1.97, 50.0, 10, "p is not below 0.01"),
        ("minute_ensemble", 1.95, 61.0, 10, "a run took 61.0 s of 60"),
    ],
)
def test_a_verdict_says_why(
    entry: str, mean: float, seconds: float, n_seeds: int, verdict: str
) -> None:
    ours = [mean + noise for noise in NOISE][:n_seeds]
    theirs = [1.97 + noise for noise in NOISE][:n_seeds]
    text, verified = verify.report(entry, turns(ours, theirs, seconds))
    assert verdict in text
    assert verified == (verdict == "; verified")


@pytest.mark.parametrize(
    ("command", "message"),
    [(Verify("nothing"), "no entry 'nothing'"), (Verify("speed_folded", 0), "at least 1, got 0")],
)
def test_a_wrong_command_gets_one_line_and_exit_code_2(
    command: Verify, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run() == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_every_entry_names_its_track_and_its_baseline() -> None:
    for entry in tracks.ENTRIES:
        module = tracks.load(entry)
        assert module.TRACK in tracks.TRACKS
        assert tracks.load(module.BASELINE).TRACK == module.TRACK
        assert callable(module.train)
    assert {track.record for track in tracks.TRACKS.values()} <= set(tracks.ENTRIES)
