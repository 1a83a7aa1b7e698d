"""The jitted loop: the same steps as a loop by hand, whatever the cadence."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.backprop import loss_and_grad
from jaxmore.layers import Chain, by_path
from jaxmore.models import mlp_bn
from jaxmore.training.loop import (
    Chunk,
    TrainState,
    batch_indices,
    fresh_params,
    gradient_to_data,
    scan_steps,
    train,
    train_chunk,
)
from jaxmore.training.optimizers import make_optimizer

MODEL = mlp_bn(7, block_size=2, n_embd=3, n_embd2=5)
RATE = 0.3
init = jax.jit(MODEL.init)
jitted_loss_and_grad = jax.jit(loss_and_grad, static_argnums=0)
# Static arguments compare by identity: one object, one compilation.
ADAMW = make_optimizer("adamw", RATE / 10, 0.01, "step", 23)
SGD = make_optimizer("sgd", RATE, 0.0, "step", 8)


@pytest.fixture(scope="module")
def whole(data) -> Chunk:
    (chunk,) = run(data, chunk_size=23)
    return chunk


@pytest.fixture(scope="module")
def data() -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 7, (301, 2)).astype(np.int8)
    return jnp.array(X), jnp.array((X[:, 0] + 1) % 7)


def run(
    data, *, chunk_size: int, max_steps: int = 23, first: TrainState | None = None, start: int = 0
):
    params = init(jax.random.key(1))
    state = first or TrainState(params, ADAMW.init(params))
    chunks = []
    for chunk in train(
        MODEL,
        ADAMW,
        state,
        *data,
        jax.random.key(2),
        batch_size=11,
        max_steps=max_steps,
        chunk_size=chunk_size,
        first_step=start,
    ):
        # The next chunk consumes the state, so what is kept of it must be a copy.
        chunks.append(chunk._replace(state=jax.tree.map(jnp.copy, chunk.state)))
    return chunks


def assert_same_bits(a: TrainState, b: TrainState) -> None:
    for left, right in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("chunk_size", [1, 7, 100])
@pytest.mark.slow
def test_the_cadence_changes_no_bit(data, whole, chunk_size: int) -> None:
    parts = run(data, chunk_size=chunk_size)
    assert_same_bits(whole.state, parts[-1].state)
    losses = np.concatenate([chunk.losses for chunk in parts])
    np.testing.assert_array_equal(whole.losses, losses)
    assert [c.step for c in parts] == [*range(chunk_size, 23, chunk_size), 23]


@pytest.mark.slow
def test_a_continued_run_ends_where_the_whole_one_does(data, whole) -> None:
    half: Chunk = run(data, chunk_size=7, max_steps=14)[-1]
    rest = run(data, chunk_size=7, first=half.state, start=14)[-1]
    assert_same_bits(whole.state, rest.state)


def test_batches_depend_on_key_and_step_alone() -> None:
    key = jax.random.key(3)
    together = batch_indices(key, jnp.arange(5, 12), 13, 1000)
    apart = [batch_indices(key, jnp.array([step]), 13, 1000)[0] for step in range(5, 12)]
    np.testing.assert_array_equal(together, np.stack(apart))
    assert together.min() >= 0
    assert together.max() < 1000
    assert len(np.unique(together)) > 70  # of 91 draws
    assert (together != batch_indices(jax.random.key(4), jnp.arange(5, 12), 13, 1000)).mean() > 0.9


def test_a_chunk_is_the_loop_by_hand(data) -> None:
    X, Y = data
    params = init(jax.random.key(1))
    state = TrainState(jax.tree.map(jnp.copy, params), SGD.init(params))
    (chunk,) = train(
        MODEL, SGD, state, X, Y, jax.random.key(2), batch_size=11, max_steps=8, chunk_size=8
    )
    indices = batch_indices(jax.random.key(2), jnp.arange(8), 11, len(X))
    update: dict[str, np.ndarray] = {}
    for step, at in enumerate(indices):
        loss, grads = jitted_loss_and_grad(MODEL, params, X[at], Y[at])
        np.testing.assert_allclose(chunk.losses[step], loss, rtol=1e-5)
        rate = RATE if step < 4 else RATE / 10
        update = {path: -rate * np.asarray(g) for path, g in by_path(grads).items()}
        params = jax.tree.map(lambda p, g, rate=rate: p - rate * g, params, grads)
    after = by_path(params)
    for path, leaf in by_path(chunk.state.params).items():
        np.testing.assert_allclose(leaf, after[path], rtol=1e-4, atol=1e-6, err_msg=path)
        if path != "hidden.bias":  # b1's gradient is zero by identity: its ratio is noise
            ratio = np.log10(update[path].std() / np.asarray(after[path]).std())
            assert chunk.update_to_data[path] == pytest.approx(ratio, abs=1e-3), path
    assert chunk.update_to_data["hidden.bias"] < -6


def test_the_gradients_beside_the_parameters_are_those_of_the_next_batch(data) -> None:
    X, Y = data
    params, key = init(jax.random.key(1)), jax.random.key(2)
    ratios = gradient_to_data(MODEL, params, X, Y, key, jnp.asarray(5), batch_size=11)
    at = batch_indices(key, jnp.arange(8), 11, len(X))[5]
    _, grads = jitted_loss_and_grad(MODEL, params, X[at], Y[at])
    for path, grad in by_path(grads).items():
        if path != "hidden.bias":  # rounding noise, as above
            expected = np.log10(np.asarray(grad).std() / np.asarray(by_path(params)[path]).std())
            assert ratios[path] == pytest.approx(expected, abs=1e-3), path
    assert ratios["hidden.bias"] < -6


def test_training_learns_and_compiles_once_per_shape(data) -> None:
    X, Y = data
    optimizer = make_optimizer("sgd", RATE, 0.0, "constant", 400)
    params = init(jax.random.key(1))
    before = train_chunk.jitted._cache_size()
    chunks = [
        chunk.losses
        for chunk in train(
            MODEL,
            optimizer,
            TrainState(params, optimizer.init(params)),
            X,
            Y,
            jax.random.key(5),
            batch_size=32,
            max_steps=400,
            chunk_size=100,
        )
    ]
    assert train_chunk.jitted._cache_size() == before + 1
    assert chunks[-1].mean() < 0.5 * chunks[0][:10].mean()
    with pytest.raises((RuntimeError, ValueError), match=r"deleted|donated"):
        np.asarray(params["head"]["weight"])


@pytest.mark.slow
def test_equal_models_share_one_compilation(data) -> None:
    X, Y = data
    before = train_chunk.jitted._cache_size()
    for model in (MODEL, Chain(**dict(MODEL.layers))):
        params = model.init(jax.random.key(1))
        state = TrainState(params, SGD.init(params))
        train_chunk(
            model,
            SGD,
            state,
            X,
            Y,
            jax.random.key(0),
            jnp.asarray(0),
            batch_size=3,
            n_steps=3,
        )
    assert train_chunk.jitted._cache_size() == before + 1


def telling(model, params, x, y):
    """A gradient whose loss tells the two examples that it was given, 1,000 first + second."""
    return (1000 * x[0, 0] + x[1, 0]).astype(jnp.float32), jax.tree.map(jnp.zeros_like, params)


def murmur(value: int) -> int:
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        value = (value ^ (value >> shift)) * factor % 2**32
    return value


@pytest.mark.parametrize("chunk_size", [5, 3])
@pytest.mark.quick("3")
def test_the_hash_is_of_the_examples_that_the_steps_are_given(chunk_size: int) -> None:
    X = jnp.arange(900)[:, None]
    params = {"weight": jnp.ones(1)}
    chunks = [
        *train(
            MODEL,
            SGD,
            TrainState(params, SGD.init(params)),
            X,
            X[:, 0],
            jax.random.key(5),
            batch_size=2,
            max_steps=5,
            chunk_size=chunk_size,
            run_chunk=partial(scan_steps, gradient=telling),
        )
    ]
    given = [divmod(int(loss), 1000) for chunk in chunks for loss in chunk.losses]
    hashes = [
        murmur((example + step * 0x9E3779B1 + row * 0x85EBCA77) % 2**32)
        for step, examples in enumerate(given)
        for row, example in enumerate(examples)
    ]
    assert len(hashes) == 10
    assert sum(chunk.batch_hash for chunk in chunks) % 2**32 == sum(hashes) % 2**32


@pytest.mark.slow
def test_fresh_parameters_are_those_of_init():
    key = jax.random.key(3)
    fresh, eager = fresh_params(MODEL, key), MODEL.init(key)
    for a, b in zip(jax.tree.leaves(fresh), jax.tree.leaves(eager), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
