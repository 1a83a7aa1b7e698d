"""Calibration and evaluation against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.models import bengio, mlp_bn
from jaxmore.training import evaluation
from jaxmore.training.evaluation import calibrate, mean_loss

MODEL = mlp_bn(7, block_size=2, n_embd=3, n_embd2=5)


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 7, (1003, 2)).astype(np.int8), rng.integers(-1, 7, 1003).astype(np.int8)


@pytest.fixture(scope="module")
def params():
    return MODEL.init(jax.random.key(1))


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
def test_calibration_is_exact(params, data, n: int) -> None:
    X = np.resize(data[0], (n, 2))
    stats = calibrate(MODEL, params, jnp.array(X))
    want = hidden(params, X)
    assert set(stats) == set(params)
    np.testing.assert_allclose(stats["norm"]["mean"], want.mean(0), atol=1e-5)
    np.testing.assert_allclose(stats["norm"]["var"], want.var(0, ddof=1), rtol=1e-5)


@pytest.mark.parametrize("rows", [65_536, 1003, 1000, 100, 1])
def test_mean_loss_weighs_every_target_alike(params, data, rows: int, monkeypatch) -> None:
    X, Y = data if rows > 1 else (data[0][:9], data[1][:9])
    stats = calibrate(MODEL, params, jnp.array(data[0]))
    monkeypatch.setattr(evaluation, "TARGETS", rows)
    assert mean_loss(MODEL, params, stats, X, Y) == pytest.approx(
        loss_by_numpy(params, stats, X, Y), rel=1e-6
    )


def test_a_model_without_statistics_has_none(data) -> None:
    model = bengio(7, block_size=2)
    stats = calibrate(model, model.init(jax.random.key(0)), jnp.array(data[0]))
    assert jax.tree.leaves(stats) == []
