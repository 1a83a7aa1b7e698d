"""makemore's models against their PyTorch twins, and properties of every model."""

from importlib import import_module
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import jaxmore.layers
from jaxmore import loss_and_grad, trace
from jaxmore.layers import (
    Chain,
    Combinator,
    Embedding,
    Linear,
    Normal,
    Tree,
    Uniform,
    Windows,
    by_path,
    count_parameters,
    describe,
)
from jaxmore.models import MODELS, model_options, token_by_token

V, B = 5, 3


class Case(NamedTuple):
    """A model with odd sizes, the name of its twin in reference/, and its sequence length."""

    type: str
    twin: str
    options: dict[str, int]
    T: int = 5

    @property
    def model(self) -> Chain:
        return MODELS[self.type].make(V, **self.options)

    def params(self, dtype: str = "float64") -> Tree:
        """Draw generic parameters, without zeros or ones; the same numbers in every dtype."""
        rng = np.random.default_rng(7)
        shapes = jax.eval_shape(self.model.init, jax.random.key(0))
        return jax.tree.map(
            lambda leaf: jnp.array(rng.normal(0.1, 0.6, leaf.shape).astype("float32"), dtype),
            shapes,
        )

    def batch(self, seed: int = 0) -> tuple[jax.Array, jax.Array]:
        """Draw ids with repetitions, and targets of which some are ignored."""
        rng = np.random.default_rng(seed)
        x = rng.integers(0, V, (B, self.T))
        y = rng.integers(0, V, x.shape if MODELS[self.type].reads == "sequences" else B)
        x.flat[-1] = x.flat[0]
        y.flat[1 : 1 + y.size // 4] = -1
        return jnp.array(x, "int32"), jnp.array(y, "int32")


SIZES = {"n_embd": 3, "n_embd2": 7}
CASES = {
    "deep-mlp-bn": Case("deep-mlp-bn", "mlp.DeepMlpBn", SIZES | {"block_size": 2, "n_layer": 2}, 2),
    "wavenet": Case("wavenet", "wavenet.Wavenet", SIZES | {"block_size": 4}, 4),
    "bigram": Case("bigram", "ngram.Bigram", {}),
    "mlp": Case("mlp", "mlp.Mlp", SIZES | {"block_size": 3}),
    "bow": Case("bow", "bow.Bow", SIZES | {"block_size": 6}),
    "rnn": Case("rnn", "recurrent.Rnn", SIZES),
    "gru": Case("gru", "recurrent.Gru", SIZES),
    "lstm": Case("lstm", "recurrent.Lstm", SIZES),
    "transformer": Case(
        "transformer",
        "transformer.Transformer",
        {"block_size": 6, "n_layer": 2, "n_head": 3, "n_embd": 6},
    ),
    "microgpt": Case(
        "microgpt",
        "microgpt.Microgpt",
        {"block_size": 6, "n_layer": 2, "n_head": 3, "n_embd": 6},
    ),
}
SMALL = {
    "deep-mlp-bn 1": CASES["deep-mlp-bn"]._replace(
        options=SIZES | {"block_size": 1, "n_layer": 1}, T=1
    ),
    "wavenet 2": CASES["wavenet"]._replace(options=SIZES | {"block_size": 2}, T=2),
    "transformer 1": CASES["transformer"]._replace(
        options={"block_size": 1, "n_layer": 1, "n_head": 1, "n_embd": 7}, T=1
    ),
    "microgpt 1": CASES["microgpt"]._replace(
        options={"block_size": 1, "n_layer": 1, "n_head": 1, "n_embd": 7}, T=1
    ),
    "mlp of more than T": CASES["mlp"]._replace(options=SIZES | {"block_size": 7}, T=3),
    **{f"{name} T=1": CASES[name]._replace(T=1) for name in ("bow", "rnn", "gru", "lstm")},
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
strict = pytest.mark.usefixtures("strict_promotion")

# Shared by all tests here, so that equal functions compile once.
jitted = jax.jit(loss_and_grad, static_argnums=0)
apply = jax.jit(lambda model, *args: model.apply(*args), static_argnums=0)


def twin_of(case: Case) -> Any:
    """Build the twin. Imported here so that the other tests of this file run without torch."""
    module, name = case.twin.split(".")
    return getattr(import_module(f"reference.{module}"), name)(V, **case.options)


# Against PyTorch ---------------------------------------------------------------------------------


def check_gradients(oracle, case, dtype, tolerance):
    params, (x, y) = case.params(dtype), case.batch()
    loss, grads = jitted(case.model, params, x, y)
    expected_loss, expected = oracle.model(twin_of(case), params, x, y)
    assert loss.dtype == dtype
    oracle.assert_close("loss", loss, expected_loss, tolerance)
    assert jax.tree.structure(grads) == jax.tree.structure(params)
    assert by_path(grads).keys() == expected.keys()
    for path, grad in by_path(grads).items():
        assert grad.dtype == dtype
        oracle.assert_close(path, grad, expected[path], tolerance)
        assert expected[path].scale.max() > 1e-4, path


@strict
@every_case
@pytest.mark.quick("float64")
def test_loss_and_every_gradient(oracle, case, dtype, tolerance):
    check_gradients(oracle, case, dtype, tolerance)


@strict
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", SMALL.values(), ids=SMALL)
@pytest.mark.slow
def test_loss_and_every_gradient_at_the_smallest_sizes(oracle, case):
    check_gradients(oracle, case, "float64", 1e-12)


@pytest.mark.usefixtures("x64")
@every_case
@pytest.mark.quick("rnn")
def test_adamw_trajectory(oracle, case):
    """Compare 20 steps of optax's AdamW and torch's, each with its own gradients."""
    params, twin = case.params(), twin_of(case).double()
    oracle.twin.load(twin, params)
    optimizer = oracle.torch.optim.AdamW(twin.parameters(), lr=0.02, betas=(0.9, 0.99))
    ours = optax.adamw(0.02, b1=0.9, b2=0.99, eps=1e-8, weight_decay=0.01)
    state = ours.init(ravel_pytree(params)[0])
    losses = []

    @jax.jit
    def update(params, grads, state):  # on a single long array, which compiles faster
        flat, unravel = ravel_pytree(params)
        updates, state = ours.update(ravel_pytree(grads)[0], state, flat)
        return unravel(flat + updates), state

    for step in range(20):
        x, y = case.batch(seed=step % 3)
        loss, grads = jitted(case.model, params, x, y)
        params, state = update(params, grads, state)
        optimizer.zero_grad()
        expected = oracle.twin.cross_entropy(twin(oracle.tensor(x)), oracle.tensor(y))
        expected.backward()
        optimizer.step()
        losses.append((float(loss), expected.item()))
    actual, desired = np.transpose(losses)
    np.testing.assert_allclose(actual, desired, rtol=0, atol=1e-9)
    assert actual[-3:].mean() < actual[:3].mean()
    theirs = oracle.twin.parameters(twin)
    for path, value in by_path(params).items():
        np.testing.assert_allclose(value, theirs[path], rtol=0, atol=1e-7, err_msg=path)


# Properties of every model ------------------------------------------------------------------------


def test_parameter_counts():
    counts = {
        "mlp-bn": 12_297,
        "bengio": 3_481,
        "deep-mlp-bn": 47_024,
        "wavenet": 76_579,
        "bigram": 729,
        "mlp": 69_147,
        "bow": 12_827,
        "rnn": 11_803,
        "gru": 28_315,
        "lstm": 36_635,
        "transformer": 204_544,
        "microgpt": 4_192,
    }
    assert {type: count_parameters(MODELS[type].make(27)) for type in MODELS} == counts
    for type, count in counts.items():
        assert describe(MODELS[type].make(27)).endswith(f"\n{count:,} parameters")


def test_models_are_values():
    models = [MODELS[type].make(6) for type in MODELS]
    assert len(set(models)) == len(models)
    for type, model in zip(MODELS, models, strict=True):
        again = MODELS[type].make(6, **model_options(type))
        assert again is not model
        assert (again, hash(again)) == (model, hash(model))
        assert eval(repr(model), vars(jaxmore.layers)) == model
        assert MODELS[type].make(7) != model


def leaves(model, path=""):
    for name, layer in model.layers:
        if isinstance(layer, Combinator):
            yield from leaves(layer, f"{path}{name}.")
        else:
            yield path + name, layer


@pytest.mark.parametrize("type", ["mlp", "bow", "rnn", "gru", "lstm", "transformer"])
def test_makemores_start(type):
    """torch's initialisation: Linear from U(±1/√fan_in), embeddings from N(0, 1)."""
    for path, layer in leaves(MODELS[type].make(27)):
        if isinstance(layer, Linear):
            start = Uniform(layer.n_in**-0.5)
            bias = None if (type, path) == ("transformer", "head") else start
            assert (layer.weight, layer.bias) == (start, bias), path
        elif isinstance(layer, Embedding):
            assert layer.weight == Normal(), path


@pytest.mark.slow
def test_microgpts_start():
    """Every weight from N(0, 0.08), and no bias."""
    params = by_path(jax.jit(MODELS["microgpt"].make(27).init)(jax.random.key(0)))
    assert not any(path.endswith("bias") for path in params)
    numbers = np.concatenate([leaf.ravel() for leaf in params.values()])
    assert len(set(numbers.tolist())) > 0.99 * numbers.size == 0.99 * 4_192
    for path, leaf in params.items():
        assert abs(leaf.mean()) < 4 * 0.08 * leaf.size**-0.5, path
        assert abs(leaf.std() / 0.08 - 1) < 4 * (2 * leaf.size) ** -0.5, path


@pytest.mark.slow
def test_makemores_recurrent_start():
    params = by_path(jax.jit(MODELS["gru"].make(27).init)(jax.random.key(0)))
    assert not params["hidden.start"].any()
    for gate in ("update", "reset", "candidate"):
        for name in ("weight", "bias"):
            leaf = np.asarray(params[f"hidden.cell.{gate}.{name}"])
            assert 0.9 * 128**-0.5 < np.abs(leaf).max() <= 128**-0.5
            assert abs(leaf.mean()) < 4 * (128 * 3 * leaf.size) ** -0.5
    assert (params["hidden.cell.update.weight"] != params["hidden.cell.reset.weight"]).all()


def test_the_lectures_start():
    """Weights have scale 1/√fan-in (5/3 of it in lecture 4), and the head starts near zero."""
    for type, gain in [("deep-mlp-bn", 5 / 3), ("wavenet", 1.0)]:
        layers = dict(leaves(MODELS[type].make(27)))
        for path, layer in layers.items():
            if path.endswith("hidden"):
                assert layer.bias is None
                std, mean = layer.weight.std, layer.weight.mean
                assert (std, mean) == (pytest.approx(gain * layer.n_in**-0.5), 0), path
        if type == "wavenet":
            assert layers["head"].weight == Normal(0.1 * 128**-0.5)
            assert layers["head"].bias == Normal(0.0)
        else:
            assert layers["norm"].gain == Normal(0.0, mean=0.1)


# Token by token ----------------------------------------------------------------------------------


def by_token(case: Case) -> tuple[Chain, Tree, Tree, jax.Array]:
    """Return a model of sequences with parameters and statistics, and ids for it."""
    model, params = case.model, case.params()
    stats = jax.jit(model.calibrate)(params, case.batch()[0])[1]
    ids = case._replace(T=5).batch(seed=1)[0]
    if MODELS[case.type].reads == "windows":
        model, params, stats = token_by_token(model, params, stats, case.T)
    return model, params, stats, ids


@strict
@pytest.mark.usefixtures("x64")
@every_case
@pytest.mark.quick("gru", "transformer")
def test_step_by_step_is_apply(case):
    model, params, stats, ids = by_token(case)
    expected = apply(model, params, stats, ids)
    assert expected.shape == (*ids.shape, V)

    def step(cache, x_t):
        y_t, cache = model.step(params, stats, cache, x_t)
        return cache, y_t

    _, stepped = jax.jit(lambda ids: jax.lax.scan(step, model.cache(params, B), ids.T))(ids)
    atol = 1e-13 * np.abs(expected).max()
    np.testing.assert_allclose(stepped.swapaxes(0, 1), expected, rtol=0, atol=atol)


@strict
@pytest.mark.usefixtures("x64")
@every_case
@pytest.mark.quick("transformer")
def test_the_future_is_unseen(case):
    """Changing the ids from t on changes no bit before t, and something at t."""
    model, params, stats, ids = by_token(case)
    before = apply(model, params, stats, ids)
    for t in range(ids.shape[1]):
        after = apply(model, params, stats, ids.at[:, t:].set((ids[:, t:] + 1) % V))
        np.testing.assert_array_equal(after[:, :t], before[:, :t])
        assert (after[:, t] != before[:, t]).any(-1).all()


# Trace -------------------------------------------------------------------------------------------


@strict
@every_case
@pytest.mark.quick("wavenet", "transformer")
def test_trace_names_every_layer_and_parameter(case):
    def places(model, path=""):
        for name, layer in model.layers:
            if not isinstance(layer, Windows):  # ids: no cotangent
                yield path + name
            if isinstance(layer, Combinator):
                yield from places(layer, f"{path}{name}.")

    params, (x, y) = case.params("float32"), case.batch()
    traced = jax.eval_shape(lambda p, x, y: trace(case.model, p, x, y), params, x, y)
    assert traced.keys() == {"loss", *places(case.model), *by_path(params)}
    for value, cotangent in traced.values():
        assert (value.shape, value.dtype) == (cotangent.shape, cotangent.dtype)


@strict
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["transformer", "lstm"])
@pytest.mark.slow
def test_trace_equals_loss_and_grad(name):
    case = CASES[name]
    params, (x, y) = case.params(), case.batch()
    traced = trace(case.model, params, x, y)
    loss, grads = jitted(case.model, params, x, y)
    np.testing.assert_allclose(traced["loss"][0], loss, rtol=1e-14)
    for path, grad in by_path(grads).items():
        atol = 1e-13 * max(np.abs(grad).max(), 1e-2)
        np.testing.assert_allclose(traced[path][1], grad, rtol=0, atol=atol, err_msg=path)
    if name == "transformer":  # a Residual is the sum, and its branch is traced too
        for part in ("attention", "mlp"):
            place = f"blocks.1.{part}"
            around = "blocks.0" if part == "attention" else "blocks.1.attention"
            total = traced[around][0] + traced[f"{place}.proj"][0]
            np.testing.assert_allclose(traced[place][0], total, rtol=1e-13)
            np.testing.assert_array_equal(traced[f"{place}.proj"][1], traced[place][1])
