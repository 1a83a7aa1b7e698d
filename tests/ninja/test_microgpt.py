"""The replay of microgpt: its published figures, and the same program on scalar autograd."""

import random
from itertools import pairwise

import jax
import numpy as np
import pytest

from jaxmore.errors import InputError
from jaxmore.layers import by_path, count_parameters
from jaxmore.models import microgpt
from jaxmore.ninja.microgpt import (
    PRINTED_LOSSES,
    PRINTED_NAMES,
    draw_parameters,
    replay_microgpt,
    run_microgpt,
)
from tests.scalar_autograd import scalars

WORDS = ["ada", "bo", "dab", "obad"]


def test_the_published_run(seed_names):
    """Every loss of the original to 1e-9, and its twenty names."""
    run = run_microgpt(seed_names)
    assert (run.losses.shape, run.losses.dtype) == ((1000,), "float64")
    for step, loss in PRINTED_LOSSES.items():
        assert run.losses[step - 1] == pytest.approx(loss, abs=1e-9), step
    assert run.losses.mean() == pytest.approx(2.451675722389568, abs=1e-9)
    assert run.losses[-50:].mean() == pytest.approx(2.32330646522449, abs=1e-9)
    assert run.names == PRINTED_NAMES.split()
    figures = replay_microgpt(seed_names)  # from what is compiled already
    assert len(figures) == 1 + len(PRINTED_LOSSES) + 2 + 20
    assert all(figure.ours == figure.printed for figure in figures)


def test_other_words_have_no_published_figures():
    with pytest.raises(InputError, match=r"need the notebooks' 32,033 names.* not these 4 words"):
        replay_microgpt(WORDS)


@pytest.mark.slow
def test_the_weights_are_those_of_the_model():
    model = microgpt(5)
    ours, theirs = draw_parameters(random.Random(0), 5), model.init(jax.random.key(0))
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for path, leaf in by_path(ours).items():
        assert leaf.shape == by_path(theirs)[path].shape, path
    assert count_parameters(microgpt(27)) == 4192


@pytest.mark.slow
def test_as_written_for_scalars():
    """Ten steps of the original program, word by word, number by number."""
    losses, samples = original(WORDS, n_steps=10)
    run = run_microgpt(WORDS, n_steps=10)
    np.testing.assert_allclose(run.losses, losses, rtol=0, atol=1e-12)
    assert run.names == samples
    assert len(set(samples)) > 5


def original(words, n_steps):
    """microgpt, with NumPy arrays of scalars instead of its lists."""
    rng = random.Random(42)
    words = list(words)
    rng.shuffle(words)
    characters = sorted(set("".join(words)))
    boundary = len(characters)

    def matrix(n_out, n_in):
        return scalars([[rng.gauss(0, 0.08) for _ in range(n_in)] for _ in range(n_out)])

    shapes = {
        "wte": (boundary + 1, 16), "wpe": (16, 16), "lm_head": (boundary + 1, 16),
        "wq": (16, 16), "wk": (16, 16), "wv": (16, 16), "wo": (16, 16),
        "fc1": (64, 16), "fc2": (16, 64),
    }  # fmt: skip
    weights = {name: matrix(*shape) for name, shape in shapes.items()}
    m, v = ({name: np.zeros(shape) for name, shape in shapes.items()} for _ in range(2))

    def normalised(x):
        return x * ((x * x).sum() / len(x) + 1e-5) ** -0.5

    def logits_of(token, position, keys, values):
        x = normalised(weights["wte"][token] + weights["wpe"][position])
        h = normalised(x)
        keys.append(weights["wk"] @ h)
        values.append(weights["wv"] @ h)
        q, outs = weights["wq"] @ h, []
        for i in range(0, 16, 4):
            scores = [(q[i : i + 4] * k[i : i + 4]).sum() / 4**0.5 for k in keys]
            probs = probabilities(np.array(scores))
            outs += list(sum(v[i : i + 4] * p for p, v in zip(probs, values, strict=True)))
        x = x + weights["wo"] @ np.array(outs)
        hidden = weights["fc1"] @ normalised(x)
        x = x + weights["fc2"] @ (hidden * (hidden > 0))
        return weights["lm_head"] @ x

    def probabilities(scores):
        exps = np.exp(scores - max(score.value for score in scores))
        return exps / exps.sum()

    losses = []
    for step in range(n_steps):
        tokens = [boundary, *map(characters.index, words[step % len(words)]), boundary]
        keys, values, terms = [], [], []
        for position, (token, target) in enumerate(pairwise(tokens)):
            probs = probabilities(logits_of(token, position, keys, values))
            terms.append(-np.log(probs[target : target + 1])[0])
        loss = sum(terms) / len(terms)
        loss.backward()
        losses.append(loss.value)
        rate = 0.01 * (1 - step / n_steps)
        for name, weight in weights.items():
            grad = np.vectorize(lambda w: w.grad)(weight)
            m[name] = 0.85 * m[name] + 0.15 * grad
            v[name] = 0.99 * v[name] + 0.01 * grad**2
            m_hat, v_hat = m[name] / (1 - 0.85 ** (step + 1)), v[name] / (1 - 0.99 ** (step + 1))
            old = np.vectorize(lambda w: w.value)(weight)
            weights[name] = scalars(old - rate * m_hat / (v_hat**0.5 + 1e-8))

    samples = []
    for _ in range(20):
        token, keys, values, word = boundary, [], [], ""
        for position in range(16):
            logits = logits_of(token, position, keys, values)
            probs = [p.value for p in probabilities(logits / 0.5)]
            (token,) = rng.choices(range(boundary + 1), weights=probs)
            if token == boundary:
                break
            word += characters[token]
        samples.append(word)
    return losses, samples
