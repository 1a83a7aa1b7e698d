"""Sampling: the right distribution, the right prompt, one compilation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxmore.data import Vocabulary
from jaxmore.errors import InputError
from jaxmore.models import mlp_bn, ngram, token_by_token, transformer
from jaxmore.training.sampling import FEWEST, draw, sample_ids, sample_words

VOCAB = Vocabulary("abc")
T = 2


@pytest.fixture(scope="module")
def trained():
    """A model of three letters with parameters drawn at random, and its statistics."""
    model = mlp_bn(VOCAB.size, block_size=T, n_embd=3, n_embd2=5)
    params = jax.jit(model.init)(jax.random.key(1))
    X = jnp.array(np.random.default_rng(0).integers(0, VOCAB.size, (50, T)))
    stats = jax.jit(model.calibrate)(params, X)[1]
    return model, params, stats


def numbers(*shape: int) -> jax.Array:
    return jnp.array(np.random.default_rng(0).random(shape, np.float32))


def words(trained, **how):
    how = {"n_words": 50, "max_length": 12, "seed": 3} | how
    return sample_words(*token_by_token(*trained, block_size=T), VOCAB, **how)


@pytest.mark.slow
def test_the_seed_alone_decides(trained) -> None:
    assert words(trained) == words(trained)
    assert words(trained) != words(trained, seed=4)
    assert words(trained)[:7] == words(trained, n_words=7)


@pytest.mark.slow
def test_words_follow_the_models_probabilities(trained) -> None:
    model, params, stats = trained
    n = 20_000
    drawn = words(trained, n_words=n, max_length=2)

    def probs(context):
        logits = np.asarray(model.apply(params, stats, jnp.array([context])), np.float64)[0]
        return np.exp(logits) / np.exp(logits).sum()

    first = probs([0, 0])
    expected = {"": first[0]}
    for i in (1, 2, 3):
        second = probs([0, i])
        expected |= {VOCAB.decode([i]): first[i] * second[0]}
        expected |= {VOCAB.decode([i, j]): first[i] * second[j] for j in (1, 2, 3)}
    assert sum(expected.values()) == pytest.approx(1)
    for word, p in expected.items():
        deviation = 5 * np.sqrt(p * (1 - p) / n)
        assert drawn.count(word) / n == pytest.approx(p, abs=deviation), word


@pytest.mark.parametrize("weights", [[0.7, 0, 0.05, 0.25], [0, 1, 1e-3, 0], [3e-7, 0, 0, 1]])
def test_draw_inverts_the_cumulative_distribution(weights) -> None:
    """Of evenly spaced numbers, an id takes its probability's share, give or take one number."""
    n = 2**22
    u = jnp.arange(n, dtype=jnp.float32) / n
    rows = jnp.broadcast_to(jnp.array(weights, jnp.float32), (n, len(weights)))
    drawn = np.asarray(jax.jit(draw)(rows, u))
    assert (np.diff(drawn) >= 0).all()
    shares = n * np.divide(weights, np.sum(weights))
    np.testing.assert_allclose(np.bincount(drawn, minlength=4), shares, atol=2, rtol=0)


@given(
    hnp.arrays(np.float32, (3, 5), elements=st.floats(0, 1, width=32)),
    hnp.arrays(np.float32, 3, elements=st.integers(0, 2**24 - 1).map(lambda i: i / 2**24)),
)
def test_what_has_no_probability_is_never_drawn(weights, u) -> None:
    weights[:, 2] = 1  # the likeliest id of a row, as the sampler divides by its weight
    for edge in (np.zeros_like(u), u, np.full_like(u, 1 - 2**-24)):
        drawn = np.asarray(jax.jit(draw)(jnp.array(weights), jnp.array(edge)))
        assert (weights[np.arange(3), drawn] > 0).all()


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_wider_numbers_are_taken_as_well(trained) -> None:
    u = np.full((3, 4), np.nextafter(1, 0))  # rounds to 1 in float32
    by_token = token_by_token(*trained, block_size=T)
    ids = sample_ids(*by_token, jnp.array(u), jnp.full(4, -1), jnp.array(1.0))
    assert ids.dtype == jnp.int32
    assert ids.max() < VOCAB.size


@pytest.mark.slow
def test_words_do_not_depend_on_how_many_are_drawn() -> None:
    """Of many words, those that have ended are left behind; with few, they stay."""
    model = transformer(VOCAB.size, block_size=8, n_layer=1, n_head=1, n_embd=4)
    params = jax.jit(model.init)(jax.random.key(0))
    stats = jax.jit(model.calibrate)(params, jnp.zeros((1, 8), jnp.int32))[1]
    u, forced = numbers(4 * FEWEST, 8), jnp.full(8, -1)
    many = np.asarray(sample_ids(model, params, stats, u, forced, jnp.float32(1)))
    assert (many == 0).any(1).mean() > 0.8
    few = np.asarray(sample_ids(model, params, stats, u[:100], forced, jnp.float32(1)))
    np.testing.assert_array_equal(many[:100], few)


@pytest.mark.slow
def test_the_likeliest_path_for_top_k_1_and_for_a_low_temperature(trained) -> None:
    model, params, stats = trained
    apply = jax.jit(model.apply)
    context, path = [0, 0], ""
    while len(path) < 12:
        best = int(apply(params, stats, jnp.array([context]))[0].argmax())
        if best == 0:
            break
        path += VOCAB.decode([best])
        context = [*context[1:], best]
    assert set(words(trained, top_k=1)) == {path}
    assert set(words(trained, temperature=1e-4)) == {path}


def test_top_k_draws_among_k(trained) -> None:
    model, params, stats = trained
    logits = np.asarray(model.apply(params, stats, jnp.array([[0, 0]])))[0]
    two = {VOCAB.decode([i]) for i in np.argsort(logits)[-2:]}
    assert {word[:1] for word in words(trained, n_words=500, top_k=2)} == two


def test_the_prompt_comes_first_and_counts(trained) -> None:
    made = words(trained, prompt="cab")
    assert all(word.startswith("cab") for word in made)
    assert len(set(made)) > 1
    assert max(map(len, words(trained, max_length=4, prompt="cab"))) == 4
    # a prompt conditions: the same draws as from a stream that happened to begin so
    u, forced = numbers(5, 4), jnp.array([3, 1, -1, -1])
    by_token = token_by_token(*trained, block_size=T)
    ids = sample_ids(*by_token, u, forced, jnp.float32(1))
    assert (np.asarray(ids)[:, :2] == [3, 1]).all()


@pytest.mark.slow
def test_a_word_that_ended_stays_ended(trained) -> None:
    by_token = token_by_token(*trained, block_size=T)
    ids = np.asarray(sample_ids(*by_token, numbers(200, 30), jnp.full(30, -1), jnp.float32(1)))
    ended = np.cumsum(ids == 0, axis=1) > 0
    assert ended.any()
    assert (ids[ended] == 0).all()


def test_temperature_and_prompt_do_not_compile_again(trained) -> None:
    words(trained)
    before = sample_ids._cache_size()
    words(trained, temperature=0.7, prompt="a", seed=9)
    assert sample_ids._cache_size() == before


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"prompt": "ax"}, "unknown character 'x'"),
        ({"prompt": "a."}, "unknown character '.'"),
        ({"prompt": "a" * 12}, "leaves no room"),
        ({"temperature": 0.0}, "--temperature must be positive"),
        ({"temperature": float("nan")}, "--temperature must be positive"),
        ({"top_k": 0}, r"--top-k must lie in 1\.\.4"),
        ({"top_k": 5}, r"--top-k must lie in 1\.\.4"),
    ],
)
def test_what_cannot_be_sampled(trained, how, message) -> None:
    with pytest.raises(InputError, match=message):
        words(trained, **how)


def test_top_k_takes_k_where_logits_tie() -> None:
    model = ngram(4, 1)
    params = {"windows": {}, "context": {}, "logits": {"weight": jnp.zeros((4, 4))}}
    stats = {"windows": {}, "context": {}, "logits": {}}
    how = {"n_words": 300, "max_length": 5, "seed": 0}
    drawn = sample_words(model, params, stats, VOCAB, **how, top_k=3)
    assert set("".join(drawn)) == {"a", "b"}  # and the boundary
