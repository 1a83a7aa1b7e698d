"""What inspect finds of a batch, against NumPy's own arithmetic on plain arrays."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.backprop import trace
from jaxmore.layers import by_path
from jaxmore.models import bengio, microgpt
from jaxmore.training.inspection import SATURATED, Inspection, in_the_plane, inspect

X = jnp.array([[0, 1, 2, 2], [0, 3, 3, 0], [0, 4, 0, 0]])
Y = jnp.array([[1, 2, 2, 4], [3, 3, 0, -1], [4, 0, -1, -1]])


class Case(NamedTuple):
    found: Inspection
    places: dict[str, tuple[np.ndarray, np.ndarray]]
    """What trace gives, as a second way."""
    params: dict
    first: dict


def case(model, y, scale: float) -> Case:
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    params, first = (
        jax.tree.map(lambda p: jnp.array(scale * rng.normal(size=p.shape), jnp.float32), shapes)
        for _ in range(2)
    )
    found = inspect(model, params, first, X, y)
    places = jax.tree.map(np.asarray, dict(trace(model, params, X, y)))
    return Case(found, places, params, first)


@pytest.fixture(scope="module")
def windows() -> Case:
    """A network with a tanh, 40 units."""
    return case(bengio(5, block_size=4, n_embd=3, n_embd2=40), Y[:, 0], 1.0)


@pytest.fixture(scope="module")
def words() -> Case:
    """A transformer with a ReLU, 32 units, and two heads of width 4."""
    return case(microgpt(5, block_size=4, n_layer=1, n_head=2, n_embd=8), Y, 0.5)


def test_saturated_and_dead_units_of_a_tanh(windows) -> None:
    value, cotangent = windows.places["act"]
    layers = windows.found.layers
    assert list(layers) == ["embedding", "hidden", "act", "head"]  # flatten moves numbers
    np.testing.assert_allclose(layers["act"].activations, value, rtol=1e-5)
    np.testing.assert_allclose(layers["act"].cotangents, cotangent, rtol=1e-4, atol=1e-7)
    saturated = np.abs(value) > SATURATED
    assert layers["act"].saturated == saturated.sum() / saturated.size
    assert layers["act"].dead == sum(all(column) for column in saturated.T) / 40
    assert 0 < layers["act"].dead < layers["act"].saturated < 1
    assert layers["hidden"].saturated is layers["hidden"].dead is None


def test_dead_units_of_a_relu_and_no_places_after_a_word(words) -> None:
    value, cotangent = (array[np.asarray(Y) != -1] for array in words.places["blocks.0.mlp.act"])
    layer = words.found.layers["blocks.0.mlp.act"]
    assert layer.activations.shape == (9, 32)
    np.testing.assert_allclose(layer.activations, value, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.cotangents, cotangent, rtol=1e-3, atol=1e-5)
    assert layer.dead == (value == 0).all(0).mean() > 0
    assert layer.saturated is None


def test_ratios_losses_and_row_sums(windows) -> None:
    found = windows.found
    weight, gradient = (array.astype(float) for array in windows.places["head.weight"])
    expected = np.log10(gradient.std() / weight.std())
    assert found.gradient_to_data["head.weight"] == pytest.approx(expected, rel=1e-5)
    first = jax.tree.map(lambda p: np.asarray(p, float), windows.first)
    rows = first["embedding"]["weight"][np.asarray(X)].reshape(3, 12)
    hidden = np.tanh(rows @ first["hidden"]["weight"] + first["hidden"]["bias"])
    logits = hidden @ first["head"]["weight"] + first["head"]["bias"]
    logprobs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert found.first_loss == pytest.approx(-logprobs[range(3), Y[:, 0]].mean(), rel=1e-4)
    assert found.dlogits.shape == (3, 5)
    assert found.largest_row_sum == np.abs(found.dlogits.sum(-1)).max() < 1e-7


def test_attention_weights_give_the_output_of_the_layer(words) -> None:
    ((path, weights),) = words.found.attention.items()
    assert path == "blocks.0.attention.heads"
    assert weights.shape == (3, 2, 4, 4)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)
    assert not np.triu(weights, 1).any()
    qkv, _ = words.places["blocks.0.attention.qkv"]
    values = qkv[..., 16:].reshape(3, 4, 2, 4)  # of the two heads
    mixed = np.einsum("bnts,bsnd->btnd", weights, values).reshape(3, 4, 8)
    np.testing.assert_allclose(mixed, words.places[path][0], rtol=1e-4, atol=1e-5)


def test_every_parameter_is_there(words) -> None:
    paths = list(by_path(words.params))
    assert list(words.found.params) == list(words.found.gradients) == paths
    assert list(words.found.embeddings) == ["embedding.token"]


def test_the_plane_of_two_principal_components() -> None:
    table = np.random.default_rng(0).normal(size=(7, 4)) * [5, 1, 3, 0.5] + 2
    points, shares = in_the_plane(table)
    values, vectors = np.linalg.eigh(np.cov(table.T))
    expected = (table - table.mean(0)) @ vectors[:, :-3:-1]
    np.testing.assert_allclose(np.abs(points), np.abs(expected), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(shares, values[:-3:-1] / values.sum())


def test_two_dimensions_stay_and_one_lies_on_a_line() -> None:
    table = np.array([[1.0, 2.0], [3.0, 5.0], [0.0, 1.0]])
    assert in_the_plane(table) == (pytest.approx(table), None)
    points, shares = in_the_plane(table[:, :1])
    assert points.shape == (3, 2) and not points[:, 1].any()
    assert shares == (pytest.approx(1), 0)
    assert in_the_plane(np.zeros((3, 4)))[1] == (0, 0)
