"""Counted and neural bigrams and trigrams."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.data import Vocabulary, context_windows
from jaxmore.models._ngram import (
    count_ngrams,
    log_probabilities,
    mean_nll,
    neural_ngram_loss_and_grad,
    ngram,
    train_neural_ngram,
)

WORDS = ["emma", "bob", "em"]
VOCAB = Vocabulary.from_words(WORDS)


def test_counts_of_words_by_hand():
    counts = count_ngrams(*context_windows(WORDS, VOCAB, 1), VOCAB.size)
    a, b, e, m, o = VOCAB.encode("abemo")
    expected = {(0, e): 2, (e, m): 2, (m, m): 1, (m, a): 1, (a, 0): 1, (0, b): 1, (b, o): 1}
    expected |= {(o, b): 1, (b, 0): 1, (m, 0): 1}
    assert counts.shape == (6, 6)
    assert {tuple(place): counts[tuple(place)] for place in np.argwhere(counts)} == expected
    trigrams = count_ngrams(*context_windows(WORDS, VOCAB, 2), VOCAB.size)
    assert trigrams[0, 0, e] == trigrams[0, e, m] == 2
    np.testing.assert_array_equal(trigrams.sum(0), counts)


def test_probabilities():
    counts = np.array([[1, 3], [0, 0], [0, 2]])
    np.testing.assert_allclose(
        np.exp(log_probabilities(counts)), [[0.25, 0.75], [0.5, 0.5], [0, 1]]
    )
    smoothed = np.exp(log_probabilities(counts, smoothing=1.0))
    np.testing.assert_allclose(smoothed, [[1 / 3, 2 / 3], [0.5, 0.5], [0.25, 0.75]])


def test_mean_nll():
    """Weighted by counts: absent n-grams contribute nothing, impossible ones infinity."""
    log_probs = log_probabilities(np.array([[1, 3], [0, 2]]))
    expected = -(np.log(0.25) + 3 * np.log(0.75)) / 6
    assert mean_nll(log_probs, np.array([[1, 3], [0, 2]])) == pytest.approx(expected, rel=1e-15)
    assert mean_nll(log_probs, np.array([[0, 0], [1, 1]])) == np.inf
    certain = np.array([[0, 2], [1, 0]])
    assert str(mean_nll(log_probabilities(certain), certain)) == "0.0"  # not -0.0


def test_the_seeds_names(seed_names):
    vocab = Vocabulary.from_words(seed_names)
    counts = count_ngrams(*context_windows(seed_names, vocab, 1), vocab.size)
    assert counts.sum() == 228_146
    nll = mean_nll(log_probabilities(counts), counts)
    assert nll == pytest.approx(2.4540145, abs=5e-8)
    smoothed = mean_nll(log_probabilities(counts, smoothing=1.0), counts)
    assert smoothed == pytest.approx(2.4545768, abs=5e-8)
    trigrams = count_ngrams(*context_windows(seed_names, vocab, 2), vocab.size)
    nll = mean_nll(log_probabilities(trigrams), trigrams)
    assert nll == pytest.approx(2.1857432, abs=5e-8)


@pytest.mark.parametrize("n", [1, 2])
def test_neural_loss_and_gradient(oracle, dtype, tolerance, n):
    """Compare with plain torch on one-hot vectors, example by example."""
    V, M = 5, 40
    rng = np.random.default_rng(n)
    weight = rng.normal(size=(V**n, V)).astype("float32")
    x, y = rng.integers(0, V, (M, n)), rng.integers(0, V, M)
    counts = count_ngrams(x, y, V).reshape(-1, V)
    with jax.numpy_dtype_promotion("strict"):
        loss, grad = jax.jit(neural_ngram_loss_and_grad)(
            jnp.array(weight, dtype), jnp.array(counts, "int32")
        )
    torch = oracle.torch
    leaf = torch.tensor(weight, dtype=torch.float64, requires_grad=True)
    context = torch.tensor(x @ V ** np.arange(n)[::-1])
    logits = torch.nn.functional.one_hot(context, V**n).double() @ leaf
    expected = oracle.twin.cross_entropy(logits, torch.tensor(y)) + 0.01 * (leaf**2).mean()
    expected.backward()
    assert loss.dtype == grad.dtype == dtype
    np.testing.assert_allclose(loss, expected.item(), rtol=tolerance)
    truth = leaf.grad.numpy()
    np.testing.assert_allclose(grad, truth, rtol=0, atol=tolerance * np.abs(truth).max())


@pytest.mark.parametrize("n", [1, 2])
def test_gradient_descent_finds_the_counts(n):
    """Without the penalty the neural model converges to the counted one."""
    counts = count_ngrams(*context_windows(WORDS, VOCAB, n), VOCAB.size)
    expected = mean_nll(log_probabilities(counts), counts)
    untrained, learned = (
        mean_nll(
            np.asarray(train_neural_ngram(jnp.array(counts), *how, penalty=0.0), "float64"), counts
        )
        for how in [(0, 10.0), (3000, 10.0)]
    )
    assert untrained == pytest.approx(np.log(6))
    assert expected < learned < expected + 0.01


def test_the_neural_bigram_of_the_seeds_names(seed_names):
    vocab = Vocabulary.from_words(seed_names)
    counts = count_ngrams(*context_windows(seed_names, vocab, 1), vocab.size)
    table = train_neural_ngram(jnp.array(counts), 10_000, 50.0, penalty=0.0)
    learned = mean_nll(np.asarray(table, "float64"), counts)
    assert 2.4540145 < learned < 2.4540145 + 2e-4


@pytest.mark.parametrize("n", [1, 2])
def test_an_ngram_looks_up_its_table(n):
    """``fwd`` and ``step`` both read the row of the last n ids."""
    table = np.random.default_rng(0).normal(size=(4,) * (n + 1)).astype("float32")
    model, ids = ngram(4, n), np.array([[1, 3, 2], [0, 1, 1]], "int8")
    assert jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0)))[0].shape == (4**n, 4)
    params = {"windows": {}, "context": {}, "logits": {"weight": jnp.array(table.reshape(-1, 4))}}
    stats = {"windows": {}, "context": {}, "logits": {}}
    padded = np.pad(ids, ((0, 0), (n - 1, 0)))
    expected = [table[tuple(padded[:, t : t + n].T)] for t in range(3)]
    logits, _ = jax.jit(model.fwd)(params, jnp.array(ids))
    np.testing.assert_array_equal(logits, np.stack(expected, 1))
    cache, step = model.cache(params, 2), jax.jit(model.step)
    for t in range(3):
        logits, cache = step(params, stats, cache, jnp.array(ids[:, t], "int32"))
        np.testing.assert_array_equal(logits, expected[t])
