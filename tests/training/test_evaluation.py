"""Calibration and evaluation against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.errors import InputError
from jaxmore.models import bengio, bigram, deep_mlp_bn, mlp_bn, wavenet
from jaxmore.training import evaluation
from jaxmore.training.evaluation import calibrate, mean_loss

MODEL = mlp_bn(7, block_size=2, n_embd=3, n_embd2=5)


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 7, (1003, 2)).astype(np.int8), rng.integers(-1, 7, 1003).astype(np.int8)


@pytest.fixture(scope="module")
def params():
    return jax.jit(MODEL.init)(jax.random.key(1))


def hidden(params, X) -> np.ndarray:
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    rows = p["embedding"]["weight"][X].reshape(len(X), -1)
    return rows @ p["hidden"]["weight"] + p["hidden"]["bias"]


def loss_by_numpy(params, stats, X, Y) -> float:
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    s = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), stats)["norm"]
    raw = (hidden(params, X) - s["mean"]) / np.sqrt(s["var"] + 1e-5)
    h = np.tanh(p["norm"]["gain"] * raw + p["norm"]["bias"])
    logits = h @ p["head"]["weight"] + p["head"]["bias"]
    logprobs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    chosen = Y != -1
    return -logprobs[chosen, Y[chosen]].mean()


@pytest.mark.parametrize("n", [2, 1003, 40_000])
@pytest.mark.quick("1003")
def test_calibration_is_exact(params, data, n: int) -> None:
    X = np.resize(data[0], (n, 2))
    stats = calibrate(MODEL, params, X)
    want = hidden(params, X)
    assert set(stats) == set(params)
    np.testing.assert_allclose(stats["norm"]["mean"], want.mean(0), atol=1e-5)
    np.testing.assert_allclose(stats["norm"]["var"], want.var(0, ddof=1), rtol=1e-5)


@pytest.mark.parametrize("n", [0, 5])
def test_no_target_is_refused(params, data, n: int) -> None:
    stats = calibrate(MODEL, params, data[0])
    with pytest.raises(InputError, match="nothing to evaluate"):
        mean_loss(MODEL, params, stats, data[0][:n], np.full(n, -1, np.int8))


@pytest.mark.parametrize("rows", [65_536, 1003, 1000, 100, 1])
@pytest.mark.quick("65536", "1000")
def test_mean_loss_weighs_every_target_alike(params, data, rows: int, monkeypatch) -> None:
    X, Y = data if rows > 1 else (data[0][:9], data[1][:9])
    stats = calibrate(MODEL, params, data[0])
    monkeypatch.setattr(evaluation, "TARGETS", rows)
    assert mean_loss(MODEL, params, stats, X, Y) == pytest.approx(
        loss_by_numpy(params, stats, X, Y), rel=1e-6
    )


@pytest.mark.slow
def test_a_model_without_statistics_has_none(data) -> None:
    model = bengio(7, block_size=2)
    stats = calibrate(model, model.init(jax.random.key(0)), data[0])
    assert jax.tree.leaves(stats) == []


DEEP = [
    bengio(5, block_size=2, n_embd=3, n_embd2=4),
    deep_mlp_bn(5, block_size=2, n_layer=3, n_embd=3, n_embd2=4),
    wavenet(5, block_size=4, n_embd=3, n_embd2=4),
]


@pytest.mark.parametrize("model", DEEP, ids=["bengio", "deep-mlp-bn", "wavenet"])
@pytest.mark.quick("bengio")
def test_distinct_contexts_stand_for_all(model) -> None:
    """The statistics of training on all the windows in one batch, at any depth, and its loss."""
    T = 4 if model is DEEP[2] else 2
    rng = np.random.default_rng(0)
    X = rng.zipf(1.5, (2001, T)).clip(1, 5).astype(np.int8) - 1  # some contexts often, some once
    Y = rng.integers(0, 5, 2001).astype(np.int8)
    assert 20 < len(evaluation.distinct_rows(X)[0]) < 1000
    params = model.init(jax.random.key(0))
    stats = calibrate(model, params, X)
    logits = np.asarray(jax.jit(model.fwd)(params, jnp.array(X))[0], np.float64)
    inferred = jax.jit(model.apply)(params, stats, jnp.array(X))
    np.testing.assert_allclose(inferred, logits, rtol=0, atol=2e-6 * abs(logits).max())
    nll = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(Y)), Y]
    assert mean_loss(model, params, stats, X, Y) == pytest.approx(nll.mean(), rel=1e-6)


@pytest.mark.parametrize("places", [4096, 21, 1])
@pytest.mark.quick("21")
def test_sequences_leave_out_ignored_targets(places: int, monkeypatch) -> None:
    monkeypatch.setattr(evaluation, "TARGETS", places)
    rng = np.random.default_rng(0)
    X, Y = rng.integers(0, 5, (10, 7)), rng.integers(-1, 5, (10, 7))
    table = rng.normal(size=(5, 5)).astype(np.float32)
    logprobs = table - np.log(np.exp(table).sum(1, keepdims=True))
    want = -logprobs[X, Y][Y != -1].mean()
    params = {"logits": {"weight": jnp.array(table)}}
    assert mean_loss(bigram(5), params, {"logits": {}}, X, Y) == pytest.approx(want, rel=1e-6)


def test_every_split_uses_the_same_compilation(params, data) -> None:
    X, Y = data
    stats = calibrate(MODEL, params, X)
    mean_loss(MODEL, params, stats, X, Y)
    before = evaluation._total_loss._cache_size()
    mean_loss(MODEL, params, stats, X[:500], Y[:500])
    assert evaluation._total_loss._cache_size() == before


@pytest.mark.parametrize("n_columns", [3, 20])  # 20 digits to the base 32 are no int64
def test_distinct_rows(n_columns: int) -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(-2, 30, (40, n_columns))[rng.integers(0, 40, 300)]
    distinct, order, which = evaluation.distinct_rows(X)
    assert distinct.tolist() == np.unique(X, axis=0).tolist()
    assert (distinct[which] == X[order]).all()
    assert sorted(order) == [*range(300)]
