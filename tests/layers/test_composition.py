"""Residual, Add, ScanTime and single layers, beyond the comparison of models with their twins."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore import rules
from jaxmore.layers import (
    Add,
    CausalMean,
    CausalSelfAttention,
    Chain,
    Dropout,
    Embedding,
    FlattenConsecutive,
    Gelu,
    GruCell,
    LayerNorm,
    Linear,
    LstmCell,
    PositionEmbedding,
    Relu,
    Residual,
    RmsNorm,
    RnnCell,
    ScanTime,
    Tanh,
    Uniform,
    Windows,
    describe,
    fan_in_linear,
)

pytestmark = pytest.mark.usefixtures("strict_promotion")

# For inputs (3, 4, 6): layers that the models with twins contain once or not at all.
LAYERS = {
    "Relu": Relu(),
    "Gelu": Gelu(approximate=False),
    "FlattenConsecutive": FlattenConsecutive(2),
    "FlattenConsecutive to one": FlattenConsecutive(4),
    "RmsNorm": RmsNorm(eps=0.3),
    "Residual": Residual(norm=LayerNorm(6), hidden=Linear(6, 6)),
    "Chain that recomputes": Chain(a=LayerNorm(6), b=Gelu(approximate=True), c=Linear(6, 5)),
    "Add": Add(a=Linear(6, 5), b=Chain(c=Tanh(), d=Linear(6, 5, bias=None))),
    "Add of itself": Add(a=Chain(), b=Relu()),
    "CausalSelfAttention": CausalSelfAttention(2, 1, 4),
    "ScanTime": ScanTime(LstmCell(6, 5)),
}


def generic(layer):
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(layer.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), shapes)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_bwd_is_the_transpose_of_fwd(layer):
    """Compare with JAX's derivative of fwd."""
    rng = np.random.default_rng(1)
    params, x = generic(layer), jnp.asarray(rng.normal(size=(3, 4, 6)))
    dy = jnp.asarray(rng.normal(size=jax.eval_shape(layer.fwd, params, x)[0].shape))

    @jax.jit
    def both(params, x, dy):
        ours = layer.bwd(params, layer.fwd(params, x)[1], dy)
        return ours, jax.vjp(lambda p, x: layer.fwd(p, x)[0], params, x)[1](dy)

    ours, truth = both(params, x, dy)
    assert jax.tree.structure(ours) == jax.tree.structure(truth)
    for d, expected in zip(jax.tree.leaves(ours), jax.tree.leaves(truth), strict=True):
        atol = 1e-12 * np.abs(expected).max()
        np.testing.assert_allclose(d, expected, rtol=0, atol=atol)


def test_layers_are_values():
    cells = [RnnCell(3, 5), GruCell(3, 5), LstmCell(3, 5)]
    layers = [*LAYERS.values(), *map(ScanTime, cells), Chain(a=Relu()), Residual(a=Relu())]
    assert len({*layers, Add(a=Relu()), Gelu(approximate=True), Dropout(0.5)}) == len(layers) + 3


def test_residual_and_add():
    x = jnp.array([[-1.0, 2.0]])
    params = {"a": {}, "b": {}}
    assert Residual(a=Relu()).fwd({"a": {}}, x)[0].tolist() == [[-1, 4]]
    assert Add(a=Relu(), b=Relu()).fwd(params, x)[0].tolist() == [[0, 4]]
    for layer, y in [
        (Residual(a=Relu(), b=Relu()), [[-1, 4]]),
        (Add(a=Relu(), b=Relu()), [[0, 4]]),
    ]:
        y_calibrated, stats = layer.calibrate(params, x)
        assert layer.apply(params, stats, x).tolist() == y_calibrated.tolist() == y
        y_t, cache = layer.step(params, stats, layer.cache(params, 1), x)
        assert (y_t.tolist(), cache) == (y, {"a": (), "b": ()})


def test_add_of_embeddings_has_no_dx():
    layer = Add(token=Embedding(5, 3), position=PositionEmbedding(4, 3))
    params, ids = generic(layer), jnp.array([[1, 1, 4], [0, 1, 2]], "int32")
    y, res = layer.fwd(params, ids)
    dparams, dx = layer.bwd(params, res, jnp.ones_like(y))
    assert dx is None
    assert dparams["token"]["weight"][:, 0].tolist() == [1, 3, 1, 0, 1]
    assert dparams["position"]["weight"][:, 0].tolist() == [2, 2, 2, 0]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "before", [LayerNorm(6), Gelu(approximate=True), CausalSelfAttention(6, 2, 4)]
)
@pytest.mark.quick("before1-float32")
def test_a_chain_keeps_no_input_that_the_layer_before_recomputes(before, dtype):
    x = jnp.asarray(np.random.default_rng(1).normal(size=(3, 4, 18)), dtype)
    x = x if isinstance(before, CausalSelfAttention) else x[..., :6]
    chain = Chain(before=before, hidden=Linear(6, 5), head=Linear(5, 3))
    params = jax.tree.map(lambda a: a.astype(dtype), generic(chain))
    y, kept = before.fwd(params["before"], x)
    _, res = chain.fwd(params, x)
    assert not jax.tree.leaves(res["hidden"]) and res["head"].shape == (3, 4, 5)
    again = before.recompute(params["before"], kept)
    assert (again.shape, again.dtype) == (y.shape, y.dtype)
    np.testing.assert_allclose(
        again.astype("float32"), y.astype("float32"), atol=8 * float(jnp.finfo(dtype).eps)
    )
    # The same as when the input is saved: Dropout without a key passes x on unchanged.
    apart = Chain(before=before, between=Dropout(0.5), hidden=Linear(6, 5), head=Linear(5, 3))
    of_apart = {**params, "between": {}}
    dy = jnp.asarray(np.random.default_rng(2).normal(size=(3, 4, 3)), dtype)
    dparams, dx = chain.bwd(params, res, dy)
    want, dx_want = apart.bwd(of_apart, apart.fwd(of_apart, x)[1], dy)
    for d, truth in [(dx, dx_want), (dparams["hidden"]["weight"], want["hidden"]["weight"])]:
        scale = float(jnp.abs(truth).max())
        atol = 8 * float(jnp.finfo(dtype).eps) * scale
        np.testing.assert_allclose(d.astype("float32"), truth.astype("float32"), rtol=0, atol=atol)


def test_an_empty_batch_is_recomputed():
    chain = Chain(norm=LayerNorm(6), hidden=Linear(6, 5))
    params, x = generic(chain), jnp.zeros((0, 6))
    y, res = chain.fwd(params, x)
    dparams, dx = chain.bwd(params, res, y)
    assert dx.shape == x.shape
    assert not dparams["hidden"]["weight"].any()  # an empty sum, not NaN


def test_map_keeps_the_combinator_and_its_names():
    for combinator in (Residual, Add, Chain):
        model = combinator(a=Relu(), b=Relu())
        assert model.map(lambda _: Tanh()) == combinator(a=Tanh(), b=Tanh())
    assert ScanTime(RnnCell(3, 5)).map(lambda _: Tanh()) == ScanTime(RnnCell(3, 5))


# Dropout -----------------------------------------------------------------------------------------


def test_dropout_drops_only_in_training():
    layer, x = Dropout(0.5), jnp.full((100, 100), 3.0)
    y, res = layer.fwd({}, x, jax.random.key(0))
    assert sorted(set(y.ravel().tolist())) == [0, 6]
    assert abs(float((y == 0).mean()) - 0.5) < 0.02
    np.testing.assert_array_equal(layer.bwd({}, res, x)[1], y)
    for quiet in (layer.fwd({}, x)[0], layer.apply({}, {}, x), layer.step({}, {}, (), x)[0]):
        np.testing.assert_array_equal(quiet, x)
    np.testing.assert_array_equal(layer.bwd({}, layer.fwd({}, x)[1], x)[1], x)


def test_every_branch_drops_with_its_own_key():
    x = jnp.ones((50, 50))
    for combinator in (Add, Residual, Chain):
        model = combinator(a=Dropout(0.5), b=Dropout(0.5))
        _, res = model.fwd({"a": {}, "b": {}}, x, jax.random.key(0))
        assert 0.4 < (res["a"] != res["b"]).mean() < 0.6


# Token by token ----------------------------------------------------------------------------------


def test_beyond_the_block_size():
    """An error if the length is known, else NaN, but never a wrong number."""
    position, attention = PositionEmbedding(2, 3), CausalSelfAttention(2, 1, 2)
    params = position.init(jax.random.key(0))
    with pytest.raises(ValueError, match="3 tokens are more than the block size of 2"):
        position.fwd(params, jnp.zeros((1, 3), "int32"))
    for layer, of_layer, x_t in [
        (position, params, jnp.zeros(1, "int32")),
        (attention, {}, jnp.ones((1, 6))),
    ]:
        cache = layer.cache(of_layer, 1)
        for expected in (True, True, False, False):
            y_t, cache = layer.step(of_layer, {}, cache, x_t)
            assert np.isfinite(y_t).all() == expected


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.slow
def test_caches_take_every_dtype(dtype):
    """The output has the dtype of the input for any dtype of the cache (here float64)."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 6)), dtype)
    for layer in (CausalMean(6), CausalSelfAttention(2, 1, 3)):
        expected, cache, step = layer.apply({}, {}, x), layer.cache({}, 2), jax.jit(layer.step)
        for t in range(3):
            y_t, cache = step({}, {}, cache, x[:, t])
            assert y_t.dtype == dtype
            got, wanted = (np.float32(a) for a in (y_t, expected[:, t]))
            np.testing.assert_allclose(got, wanted, atol=4 * float(jnp.finfo(dtype).eps))


def test_heads_divide_the_embedding():
    with pytest.raises(ValueError, match="n_embd 7 is not a multiple of n_head 3"):
        CausalSelfAttention(7, 3, 4)


# Windows, initialisers ---------------------------------------------------------------------------


def test_windows_newest_first():
    windows, ids = Windows(3, blank=9, newest_first=True), jnp.array([[1, 2, 3, 4]], "int32")
    expected = [[1, 9, 9], [2, 1, 9], [3, 2, 1], [4, 3, 2]]
    assert windows.fwd({}, ids)[0][0].tolist() == expected
    cache = windows.cache({}, 1)
    for t, context in enumerate(expected):
        y_t, cache = windows.step({}, {}, cache, ids[:, t])
        assert y_t[0].tolist() == context


def test_a_blank_beyond_the_ids_dtype():
    ids = jnp.array([[127, 1]], "int8")
    assert Windows(2, blank=128).fwd({}, ids)[0].tolist() == [[[128, 127], [127, 1]]]


def test_uniform():
    draws = np.asarray(Uniform(0.5)(jax.random.key(0), (100, 100)))
    assert 0.49 < -draws.min() <= 0.5 and 0.49 < draws.max() <= 0.5
    assert abs(draws.mean()) < 0.01 and abs(draws.std() - 0.5 / 3**0.5) < 0.01
    assert fan_in_linear(4, 3) == Linear(4, 3, Uniform(0.5), Uniform(0.5))


def test_scan_time_by_hand():
    """Three steps of the rule from the learned initial state."""
    layer = ScanTime(LstmCell(2, 3))
    params, x = generic(layer), jnp.asarray(np.random.default_rng(1).normal(size=(2, 3, 2)))
    assert params["start"].shape == (2, 3)
    h, c = (jnp.broadcast_to(row, (2, 3)) for row in params["start"])
    y, _ = jax.jit(layer.fwd)(params, x)
    cell = jax.jit(rules.lstm_cell)
    for t in range(3):
        h, c = cell(x[:, t], h, c, params["cell"]["weight"], params["cell"]["bias"])
        np.testing.assert_allclose(y[:, t], h, rtol=1e-5)


def test_describe_lists_nested_layers():
    model = Chain(blocks=Chain(**{"0": Residual(hidden=Linear(3, 3, bias=None), act=Tanh())}))
    expected = """
blocks           Chain
blocks.0         Residual
blocks.0.hidden  Linear    weight (3, 3)  9
blocks.0.act     Tanh
9 parameters"""
    assert describe(model) == expected.strip()


@pytest.mark.parametrize("cell", [RnnCell, GruCell, LstmCell])
@pytest.mark.slow
def test_a_cell_of_two_dtypes(cell):
    """With float32 inputs and bfloat16 parameters, each cotangent has the dtype of its primal."""
    layer = ScanTime(cell(3, 5))
    params = jax.tree.map(lambda p: p.astype("bfloat16"), layer.init(jax.random.key(0)))
    x = jnp.ones((2, 4, 3), "float32")
    y, residuals = layer.fwd(params, x)
    dparams, dx = layer.bwd(params, residuals, jnp.ones_like(y))
    assert (y.dtype, dx.dtype) == ("bfloat16", "float32")
    assert {d.dtype for d in jax.tree.leaves(dparams)} == {jnp.dtype("bfloat16")}
