"""Layers and combinators: parameters, return values and backward passes."""

import copy
from dataclasses import FrozenInstanceError, dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore import layers
from jaxmore.data import Vocabulary, context_windows
from jaxmore.layers import (
    BatchNorm,
    Chain,
    Embedding,
    Flatten,
    JoinIds,
    Layer,
    Linear,
    Normal,
    Tanh,
    Windows,
    by_path,
    count_parameters,
    describe,
)

pytestmark = pytest.mark.usefixtures("strict_promotion")

IDS = [[3, 0, 3, 6], [1, 3, 0, 3]]
MODEL = Chain(
    windows=Windows(3, blank=2),
    embedding=Embedding(7, 2),
    flatten=Flatten(3),
    block=Chain(hidden=Linear(6, 5), norm=BatchNorm(5, Normal(), Normal(), eps=0.3), act=Tanh()),
    head=Linear(5, 7, bias=None),
)
# The layer, the shapes of its parameters, and the shape of its input (or the input itself if ids).
CASES = {
    "Embedding": (Embedding(7, 4), {"weight": (7, 4)}, IDS),
    "Flatten": (Flatten(3), {}, (2, 7, 3, 5)),
    "Linear": (Linear(5, 4), {"weight": (5, 4), "bias": (4,)}, (2, 3, 5)),
    "Linear without bias": (Linear(5, 4, bias=None), {"weight": (5, 4)}, (2, 3, 5)),
    "BatchNorm": (
        BatchNorm(5, Normal(), Normal(), eps=0.3), {"gain": (5,), "bias": (5,)}, (2, 3, 5)
    ),
    "Tanh": (Tanh(), {}, (2, 3, 5)),
    "Windows": (Windows(3, blank=2), {}, IDS),
    "JoinIds": (JoinIds(7), {}, IDS),
    "Chain": (
        MODEL,
        {
            "embedding.weight": (7, 2),
            "block.hidden.weight": (6, 5),
            "block.hidden.bias": (5,),
            "block.norm.gain": (5,),
            "block.norm.bias": (5,),
            "head.weight": (5, 7),
        },
        IDS,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Noise(Layer):
    """A layer that uses its key. Its residual is the noise."""

    def fwd(self, params, x, key=None):
        noise = jnp.zeros_like(x) if key is None else jax.random.normal(key, x.shape)
        return x + noise, noise


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request):
    """A layer, the shapes of its parameters by path, generic parameters and an input."""
    layer, shapes, spec = request.param
    rng = np.random.default_rng(0)
    tree = jax.eval_shape(layer.init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), tree)
    x = jnp.asarray(rng.normal(size=spec) if isinstance(spec, tuple) else spec)
    return layer, shapes, params, x


def test_layers_are_values(case):
    layer, *_ = case
    twin = copy.deepcopy(layer)
    assert twin is not layer
    assert (twin, hash(twin)) == (layer, hash(layer))
    assert eval(repr(layer), vars(layers)) == layer
    with pytest.raises(FrozenInstanceError):
        layer.n_in = 3


def test_layers_that_differ_are_not_equal():
    a, b = Linear(3, 3), Tanh()
    different = [
        *(layer for layer, *_ in CASES.values()),
        *(a, Linear(3, 4), Linear(3, 3, Normal(0.1)), BatchNorm(5), BatchNorm(5, eps=0.1)),
        *(Chain(), Chain(a=a), Chain(b=a), Chain(a=a, b=b), Chain(b=b, a=a), Chain(a=b, b=a)),
    ]
    assert len(set(different)) == len(different)


def test_equal_models_share_one_compilation():
    traces = []

    def forward(model, params, x):
        traces.append(model)
        return model.fwd(params, x)[0]

    jitted = jax.jit(forward, static_argnums=0)
    for model in (Chain(a=Tanh(), b=Tanh()), Chain(a=Tanh(), b=Tanh())):
        jitted(model, {"a": {}, "b": {}}, jnp.ones(3))
    assert len(traces) == 1


@pytest.mark.quick("Chain")
def test_init(case):
    """Check the shapes, and that the key determines all numbers."""
    layer, shapes, *_ = case
    init = jax.jit(layer.init)
    params, again, other = [
        jax.device_get(by_path(init(jax.random.key(seed)))) for seed in (0, 0, 1)
    ]
    assert {path: leaf.shape for path, leaf in params.items()} == shapes
    assert count_parameters(layer) == sum(leaf.size for leaf in params.values())
    for path, leaf in params.items():
        assert (leaf == again[path]).all()
        assert (leaf != other[path]).all()


def test_every_parameter_has_its_own_key():
    inner = Chain(a=Linear(3, 3), b=BatchNorm(3, Normal(), Normal()))
    model = Chain(a=Linear(3, 3), b=Linear(3, 3), c=inner)
    params = jax.jit(model.init)(jax.random.key(0))
    numbers = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(params)])
    assert len(set(numbers.tolist())) == numbers.size == 42


def test_batch_norm_starts_as_the_identity_of_normalised_input():
    params = BatchNorm(3).init(jax.random.key(0))
    assert params["gain"].tolist() == [1, 1, 1]
    assert params["bias"].tolist() == [0, 0, 0]
    assert BatchNorm(3).eps == 1e-5


def test_normal():
    draws = np.asarray(Normal(std=0.5, mean=3.0)(jax.random.key(0), (100, 100)))
    np.testing.assert_allclose([draws.mean(), draws.std()], [3, 0.5], atol=0.02)


@pytest.mark.usefixtures("x64")
def test_bwd_is_the_transpose_of_fwd(case):
    """Compare with JAX's derivative of fwd. dparams has the tree of params; ids get None."""
    layer, _, params, x = case
    y, res = jax.jit(layer.fwd)(params, x)
    dy = jnp.asarray(np.random.default_rng(1).normal(size=y.shape))
    dparams, dx = jax.jit(layer.bwd)(params, res, dy)
    assert jax.tree.structure(dparams) == jax.tree.structure(params)

    if jnp.issubdtype(y.dtype, jnp.integer):
        assert dx is None
        return
    if jnp.issubdtype(x.dtype, jnp.integer):
        assert dx is None
        want = jax.jit(lambda: jax.vjp(lambda p: layer.fwd(p, x)[0], params)[1](dy))()
    else:
        want = jax.jit(lambda: jax.vjp(lambda p, x: layer.fwd(p, x)[0], params, x)[1](dy))()
    ours, want = [jax.tree.leaves(jax.device_get(tree)) for tree in ((dparams, dx), want)]
    # A common scale, because a bias before a normalisation has gradient zero by identity.
    scale = max(abs(d).max() for d in want)
    for d, truth in zip(ours, want, strict=True):
        np.testing.assert_allclose(d, truth, rtol=0, atol=1e-12 * scale)


@pytest.mark.quick("Chain")
def test_inference_with_the_statistics_of_a_batch_gives_its_output(case):
    layer, _, params, x = case
    y, _ = jax.jit(layer.fwd)(params, x)
    y_calibrated, stats = jax.jit(layer.calibrate)(params, x)
    y_inference = jax.jit(layer.apply)(params, stats, x)
    np.testing.assert_allclose(y_calibrated, y, rtol=0, atol=1e-5)
    np.testing.assert_allclose(y_inference, y, rtol=0, atol=1e-5)


def test_trees_of_a_chain_have_the_names_of_its_layers():
    def trees(key):
        params = MODEL.init(key)
        y, res = MODEL.fwd(params, jnp.asarray(IDS))
        dparams, _ = MODEL.bwd(params, res, y)
        return (
            params,
            res,
            dparams,
            MODEL.cache(params, 2),
            MODEL.calibrate(params, jnp.asarray(IDS))[1],
        )

    *every_tree, stats = jax.eval_shape(trees, jax.random.key(0))
    for tree in (*every_tree, stats):
        assert set(tree) == {"windows", "embedding", "flatten", "block", "head"}
    assert set(by_path(stats)) == {"block.norm.mean", "block.norm.var"}


def test_batch_norm_infers_from_its_statistics_not_from_the_batch():
    layer, x = BatchNorm(2, eps=0.0), jnp.array([[1.0, 5.0]])
    params = layer.init(jax.random.key(0))
    stats = {"mean": jnp.array([0.0, 1.0]), "var": jnp.array([1.0, 4.0])}
    np.testing.assert_allclose(layer.apply(params, stats, x), [[1, 2]], rtol=1e-6)


def test_step_by_step_is_apply():
    """One token at a time in a scan, as in sampling. T > n, so also beyond the window."""
    x = jnp.asarray(IDS)
    params = jax.jit(MODEL.init)(jax.random.key(0))
    stats = jax.jit(MODEL.calibrate)(params, x)[1]

    def body(cache, x_t):
        y_t, cache = MODEL.step(params, stats, cache, x_t)
        return cache, y_t

    _, y = jax.lax.scan(body, MODEL.cache(params, batch_size=2), x.T)
    want = jax.jit(MODEL.apply)(params, stats, x)
    np.testing.assert_allclose(np.asarray(y).swapaxes(0, 1), want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", ["int8", "int32"])
def test_windows(dtype):
    x = jnp.array([[1, 2], [3, 4]], dtype)
    y, _ = Windows(3, blank=9).fwd({}, x)
    assert y.tolist() == [[[9, 9, 1], [9, 1, 2]], [[9, 9, 3], [9, 3, 4]]]
    assert y.dtype == jnp.int32  # the ids' dtype may be too narrow for the blank, V
    assert Windows(1).fwd({}, x)[0].tolist() == x[..., None].tolist()
    assert Windows(3).fwd({}, x[:, :1])[0].tolist() == [[[0, 0, 1]], [[0, 0, 3]]]


def test_windows_of_a_word_are_the_contexts_of_the_notebooks():
    vocab = Vocabulary.from_words(["emma"])
    contexts, _ = context_windows(["emma"], vocab, 3)
    y, _ = Windows(3).fwd({}, jnp.array([[0, *vocab.encode("emma")]]))
    np.testing.assert_array_equal(y[0], contexts)


def test_chain_gives_every_layer_its_own_key():
    model = Chain(a=Noise(), b=Noise(), c=Chain(a=Noise(), b=Noise()))
    x = jnp.ones(3)
    params = model.init(jax.random.key(0))
    y, res = model.fwd(params, x, jax.random.key(0))
    noises = list(by_path(res).values())
    assert len({noise.tobytes() for noise in noises}) == 4
    np.testing.assert_allclose(y, x + sum(noises), rtol=1e-6)
    assert (model.fwd(params, x, jax.random.key(0))[0] == y).all()
    assert (model.fwd(params, x, jax.random.key(1))[0] != y).all()
    assert (model.fwd(params, x)[0] == x).all()


def test_map_replaces_the_sub_layers_and_keeps_their_names():
    seen = []

    def replaced(layer):
        seen.append(layer)
        return Tanh()

    model = Chain(a=Linear(3, 3), b=Chain(c=Flatten(2)))
    assert model.map(replaced) == Chain(a=Tanh(), b=Tanh())
    assert seen == [Linear(3, 3), Chain(c=Flatten(2))]
    assert Linear(3, 3).map(replaced) == Linear(3, 3)


def test_a_layer_defines_its_passes_and_the_rest_as_it_needs():
    layer, x = Noise(), jnp.ones(3)
    assert layer.init(jax.random.key(0)) == layer.calibrate({}, x)[1] == {}
    assert layer.cache({}, 2) == ()
    with pytest.raises(NotImplementedError, match="Layer defines no forward"):
        Layer().fwd({}, x)
    with pytest.raises(NotImplementedError, match="Noise defines no backward"):
        layer.bwd({}, x, x)


def test_by_path():
    assert by_path({"b": {"c": 1, "a": {"0": 2}}, "d": 3, "e": {}}) == {
        "b.c": 1,
        "b.a.0": 2,
        "d": 3,
    }


def test_describe():
    hidden, norm = Linear(30, 5, bias=None), BatchNorm(5)
    model = Chain(embedding=Embedding(300, 10), flatten=Flatten(3), hidden=hidden, norm=norm)
    expected = """
embedding  Embedding  weight (300, 10)      3,000
flatten    Flatten
hidden     Linear     weight (30, 5)          150
norm       BatchNorm  bias (5,), gain (5,)     10
3,160 parameters"""
    assert describe(model) == expected.strip()
    assert describe(Chain(block=model)).endswith("\n3,160 parameters")
