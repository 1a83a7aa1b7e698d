"""Identities that hold exactly or up to rounding for any input, by hypothesis."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxmore import models, rules

# A single shape each, so that all draws share one compilation.
B, T, H = 5, 6, 3
settings.register_profile("invariants", deadline=None, max_examples=15)
invariant = settings(settings.get_profile("invariants"))


def floats(*shape, bound=100.0):
    elements = st.floats(-bound, bound, width=32)
    return hnp.arrays(np.float32, shape, elements=elements)


@partial(jax.jit, static_argnames="name")
def normalised(x, dy, name):
    """Return (x̂, dx) of a normalisation with gain 1 and bias 0, in float64."""
    gain, bias = jnp.ones(H, x.dtype), jnp.zeros(H, x.dtype)
    x_hat, res = getattr(rules, f"{name}_fwd")(x, gain, bias)
    return x_hat, getattr(rules, f"{name}_bwd")(res, dy)[0]


@pytest.mark.parametrize(("name", "axis", "lost"), [("batch_norm", 0, 1), ("layer_norm", 1, 0)])
@invariant
@given(x=floats(B, H), dy=floats(B, H))
def test_dx_of_a_norm_sums_to_zero_and_lies_across_x_hat(name, axis, lost, x, dy):
    """Σ dx = 0, and Σ dx x̂ = r Σ dy x̂ · eps/(var + eps), where eps shortens x̂."""
    with jax.enable_x64(True):
        wide = jnp.asarray(x, "float64"), jnp.asarray(dy, "float64")
        x_hat, dx = map(np.asarray, normalised(*wide, name))
    eps, n = 1e-5, x.shape[axis]
    var = x.astype(np.float64).var(axis, ddof=lost)
    r = (var + eps) ** -0.5
    scale = r * (np.abs(dy).sum(axis) + 1) * n
    assert (np.abs(dx.sum(axis)) <= 1e-12 * scale).all()
    along = r * (dy * x_hat).sum(axis) * eps / (var + eps)
    assert (np.abs((dx * x_hat).sum(axis) - along) <= 1e-9 * scale).all()


@jax.jit
def cross_entropy_bwd(logits, targets):
    _, res = rules.softmax_cross_entropy_fwd(logits, targets)
    return rules.softmax_cross_entropy_bwd(res, jnp.ones((), jnp.float32))[0]


@invariant
@given(
    logits=floats(B, H, bound=1e4),
    targets=hnp.arrays(np.int32, B, elements=st.integers(-1, H - 1)),
)
def test_rows_of_dlogits_sum_to_zero_in_float32(logits, targets):
    """Rows of ignored targets are 0."""
    dlogits = np.asarray(cross_entropy_bwd(logits, targets))
    assert (np.abs(dlogits.sum(1)) <= 3e-7).all()
    assert not dlogits[targets == -1].any()


@jax.jit
def embedding_bwd(ids, dy):
    _, res = rules.embedding_fwd(ids, jnp.ones((7, H), jnp.float32))
    return rules.embedding_bwd(res, dy)[1]


@invariant
@given(ids=hnp.arrays(np.int32, (B, T), elements=st.integers(0, 6)), dy=floats(B, T, H))
def test_an_absent_id_has_gradient_exactly_zero(ids, dy):
    dweight = np.asarray(embedding_bwd(ids, dy))
    assert not dweight[~np.isin(np.arange(7), ids)].any()


@jax.jit
def causal_mean_bwd(dy):
    return rules.causal_mean_bwd((), dy)[0]


@partial(jax.jit, static_argnames="block_size")
def attention_bwd(q, k, v, do, block_size):
    _, res = rules.causal_attention_fwd(q, k, v, block_size=block_size)
    return rules.causal_attention_bwd(res, do, block_size=block_size)


@pytest.mark.parametrize("block_size", [4, T])
@invariant
@given(qkv=floats(3, T, H), do=floats(T, H), t=st.integers(0, T))
def test_no_cotangent_comes_from_the_future(block_size, qkv, do, t):
    """A loss on the positions before t has gradient exactly 0 at t and after."""
    do[t:] = 0
    assert not np.asarray(causal_mean_bwd(do))[t:].any()
    for d in attention_bwd(*qkv, do, block_size):
        assert not np.asarray(d)[t:].any()


SIZES = {"n_embd": 4, "n_embd2": 6, "n_layer": 1, "n_head": 2, "block_size": T}
V = 5


@pytest.mark.parametrize("type", ["bow", "rnn", "gru", "lstm", "transformer", "microgpt"])
@pytest.mark.quick("gru")
def test_a_causal_model_learns_nothing_of_the_future(type):
    """With a loss on the positions before t, a token that occurs only at t or later has gradient
    exactly 0, and a token that occurs earlier does not."""
    options = {k: v for k, v in SIZES.items() if k in models.model_options(type)}
    model = models.MODELS[type].make(V, **options)
    params = jax.jit(model.init)(jax.random.key(0))

    @jax.jit
    def dtokens(ids, targets):
        logits, res = model.fwd(params, ids)
        _, of_loss = rules.softmax_cross_entropy_fwd(logits, targets)
        dlogits, _ = rules.softmax_cross_entropy_bwd(of_loss, jnp.ones((), jnp.float32))
        dparams, _ = model.bwd(params, res, dlogits)
        tables = [leaf for leaf in jax.tree.leaves(dparams) if leaf.shape == (V, leaf.shape[-1])]
        return tables[0]

    rng = np.random.default_rng(0)
    for t in (1, T - 1):
        ids = rng.integers(0, V - 1, (B, T)).astype("int32")
        ids[:, t:] = V - 1
        targets = rng.integers(0, V, (B, T)).astype("int32")
        targets[:, t:] = -1
        dweight = np.asarray(dtokens(jnp.asarray(ids), jnp.asarray(targets)))
        assert not dweight[V - 1].any()
        assert dweight[ids[0, 0]].any()
