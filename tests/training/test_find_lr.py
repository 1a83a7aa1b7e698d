"""The learning-rate sweep."""

import jax.numpy as jnp
import numpy as np

from jaxmore.models import bengio
from jaxmore.training.find_lr import find_learning_rate


def test_the_sweep_descends_and_suggests_a_rate_that_trains() -> None:
    X = np.random.default_rng(0).integers(0, 7, (500, 2))
    model = bengio(7, block_size=2, n_embd=3, n_embd2=9)
    data = jnp.array(X), jnp.array((X[:, 0] + X[:, 1]) % 7)
    sweep = find_learning_rate(model, *data, seed=1, n_rates=300)
    np.testing.assert_allclose(sweep.rates[[0, -1]], [1e-3, 1])
    assert np.all(np.diff(np.log10(sweep.rates)) > 0)
    # Seed 002's sweep had the sign of ascent; this one must go down before it diverges.
    assert sweep.smoothed.min() < 0.7 * sweep.smoothed[0]
    assert 0.01 < sweep.suggested <= 1
    assert sweep.smoothed[np.argmin(abs(sweep.rates - sweep.suggested))] == sweep.smoothed.min()


def test_a_diverged_tail_is_not_suggested() -> None:
    X = np.random.default_rng(0).integers(0, 7, (500, 2))
    model = bengio(7, block_size=2, n_embd=3, n_embd2=9)
    sweep = find_learning_rate(
        model, jnp.array(X), jnp.array(X[:, 0]), seed=1, n_rates=200, exponents=(-3.0, 38.0)
    )
    assert not np.isfinite(sweep.losses[-1])
    assert sweep.suggested < 10
