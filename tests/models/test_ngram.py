"""Counted and neural bigrams and trigrams."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.data import Vocabulary, context_windows
from jaxmore.models.ngram import (
    count_ngrams,
    log_probabilities,
    mean_nll,
    neural_ngram_loss_and_grad,
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
    """Each count weighs; what does not occur costs nothing, what cannot occur everything."""
    log_probs = log_probabilities(np.array([[1, 3], [0, 2]]))
    expected = -(np.log(0.25) + 3 * np.log(0.75)) / 6
    assert mean_nll(log_probs, np.array([[1, 3], [0, 2]])) == pytest.approx(expected, rel=1e-15)
    assert mean_nll(log_probs, np.array([[0, 0], [1, 1]])) == np.inf


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
    """The same in plain torch, on one-hot vectors side by side."""
    V, M = 5, 7
    rng = np.random.default_rng(n)
    weight = rng.normal(size=(n * V, V)).astype("float32")
    x, y = rng.integers(0, V, (M, n)), rng.integers(0, V, M)
    with jax.numpy_dtype_promotion("strict"):
        loss, grad = jax.jit(neural_ngram_loss_and_grad)(
            jnp.array(weight, dtype), jnp.array(x, "int32"), jnp.array(y, "int32")
        )
    torch = oracle.torch
    leaf = torch.tensor(weight, dtype=torch.float64, requires_grad=True)
    one_hot = torch.nn.functional.one_hot(torch.tensor(x), V).flatten(1).double()
    logits = one_hot @ leaf
    expected = oracle.twin.cross_entropy(logits, torch.tensor(y)) + 0.01 * (leaf**2).mean()
    expected.backward()
    assert loss.dtype == grad.dtype == dtype
    np.testing.assert_allclose(loss, expected.item(), rtol=tolerance)
    truth = leaf.grad.numpy()
    np.testing.assert_allclose(grad, truth, rtol=0, atol=tolerance * np.abs(truth).max())


def test_gradient_descent_finds_the_counts():
    """Without the penalty the neural form is the counted one."""
    X, Y = context_windows(WORDS, VOCAB, 1)
    counts = count_ngrams(X, Y, VOCAB.size)

    def step(weight, _):
        loss, grad = neural_ngram_loss_and_grad(weight, jnp.array(X), jnp.array(Y), penalty=0.0)
        return weight - 10 * grad, loss

    weight = jnp.zeros((VOCAB.size, VOCAB.size))
    losses = jax.jit(lambda weight: jax.lax.scan(step, weight, length=1000)[1])(weight)
    expected = mean_nll(log_probabilities(counts), counts)
    assert losses[0] == pytest.approx(np.log(6))
    assert expected < losses[-1] < expected + 0.01
