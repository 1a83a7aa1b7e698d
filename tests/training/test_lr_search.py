"""The learning-rate sweep."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmore import backprop
from jaxmore.models import bengio
from jaxmore.training.loop import batch_indices
from jaxmore.training.lr_search import find_learning_rate


@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
@pytest.mark.slow
def test_the_sweep_descends_and_suggests_a_rate_that_trains(optimizer) -> None:
    X = np.random.default_rng(0).integers(0, 7, (500, 2))
    model = bengio(7, block_size=2, n_embd=3, n_embd2=9)
    data = jnp.array(X), jnp.array((X[:, 0] + X[:, 1]) % 7)
    sweep = find_learning_rate(model, *data, seed=1, optimizer=optimizer, n_rates=300)
    np.testing.assert_allclose(sweep.rates[[0, -1]], [1e-3, 1])
    assert np.all(np.diff(np.log10(sweep.rates)) > 0)
    # Seed 002's sweep had the sign of ascent; this one must go down before it diverges.
    assert sweep.smoothed.min() < 0.7 * sweep.smoothed[0]
    assert 0.01 < sweep.suggested <= 1
    assert sweep.smoothed[np.argmin(abs(sweep.rates - sweep.suggested))] == sweep.smoothed.min()


@pytest.mark.slow
def test_the_sweep_of_adamw_carries_its_state() -> None:
    """The same losses as a loop by hand whose rate is set before each step."""
    X = jnp.array(np.random.default_rng(0).integers(0, 7, (50, 2)))
    model, Y = bengio(7, block_size=2, n_embd=3, n_embd2=9), X[:, 0]
    sweep = find_learning_rate(
        model, X, Y, seed=1, optimizer="adamw", weight_decay=0.1, batch_size=4, n_rates=12
    )
    init_key, batch_key = jax.random.split(jax.random.key(1))
    params = model.init(init_key)
    adamw = optax.inject_hyperparams(optax.adamw)(0.0, b1=0.9, b2=0.99, weight_decay=0.1)
    state = adamw.init(params)
    loss_and_grad = jax.jit(backprop.loss_and_grad, static_argnums=0)
    update = jax.jit(adamw.update)
    for rate, loss, at in zip(
        sweep.rates, sweep.losses, batch_indices(batch_key, jnp.arange(12), 4, 50), strict=True
    ):
        expected, grads = loss_and_grad(model, params, X[at], Y[at])
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
        state.hyperparams["learning_rate"] = jnp.float32(rate)
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)


@pytest.mark.slow
def test_a_diverged_tail_is_not_suggested() -> None:
    X = np.random.default_rng(0).integers(0, 7, (500, 2))
    model = bengio(7, block_size=2, n_embd=3, n_embd2=9)
    sweep = find_learning_rate(
        model, jnp.array(X), jnp.array(X[:, 0]), seed=1, n_rates=200, exponents=(-3.0, 38.0)
    )
    assert not np.isfinite(sweep.losses[-1])
    assert sweep.suggested < 10
