"""jaxmore's rules in a Flax NNX and in an Equinox module, trained by optax."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmore import custom_vjp, rules

pytestmark = pytest.mark.usefixtures("x64")

B, T, V, E = 5, 4, 7, 6
N_STEPS = 12
LEARNING_RATE = 0.5  # plain descent: Adam would hide a constant factor


class Operations(NamedTuple):
    """The operations of the modules: jaxmore's drop-ins, or functions that JAX differentiates."""

    batch_norm: Callable[..., Any]
    causal_attention: Callable[..., Any]
    cross_entropy: Callable[..., Any]


def hand_derived(called: list[str]) -> Operations:
    def drop_in(name: str, **options: Any) -> Callable[..., Any]:
        op, fwd, bwd = (getattr(rules, name + end) for end in ("", "_fwd", "_bwd"))

        def noted_bwd(*args: Any, **options: Any) -> Any:
            called.append(name)
            return bwd(*args, **options)

        return custom_vjp(op, fwd, noted_bwd, **options)

    return Operations(
        drop_in("batch_norm", eps=1e-3),
        drop_in("causal_attention", block_size=3),
        drop_in("softmax_cross_entropy"),
    )


def by_autodiff() -> Operations:
    """Written without jaxmore's forward functions."""

    def batch_norm(x, gain, bias):
        mean, var = x.mean((0, 1)), x.var((0, 1), ddof=1)
        return gain * (x - mean) / jnp.sqrt(var + 1e-3) + bias

    def causal_attention(q, k, v):
        # (jax.nn.dot_product_attention takes its softmax in float32, in float64 too.)
        seen = jnp.tril(jnp.ones((q.shape[-2], k.shape[-2]), bool))
        return jax.nn.softmax(q @ k.mT / q.shape[-1] ** 0.5, where=seen) @ v

    def cross_entropy(logits, y):
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    return Operations(batch_norm, causal_attention, cross_entropy)


def batches() -> list[tuple[jax.Array, jax.Array]]:
    rng = np.random.default_rng(0)
    x = rng.integers(0, V, (N_STEPS, B, T))
    return [(jnp.array(ids), jnp.array((ids + 1) % V)) for ids in x]


def assert_the_same(train: Callable[[Operations], list[float]]) -> None:
    called: list[str] = []
    ours, theirs = train(hand_derived(called)), train(by_autodiff())
    assert set(called) == {"batch_norm", "causal_attention", "softmax_cross_entropy"}
    assert len(ours) == N_STEPS
    assert ours[-1] < 0.8 * ours[0]  # it learns, so the steps were not tiny
    np.testing.assert_allclose(ours, theirs, rtol=1e-11)


@pytest.mark.slow
def test_a_flax_nnx_module():
    nnx = pytest.importorskip("flax.nnx", reason="the extra 'frameworks' brings Flax")

    def train(ops: Operations) -> list[float]:
        class Model(nnx.Module):
            def __init__(self, rngs):
                self.embedding = nnx.Embed(V, E, param_dtype=float, rngs=rngs)
                self.gain, self.bias = nnx.Param(jnp.ones(E)), nnx.Param(jnp.zeros(E))
                self.qkv = nnx.Linear(E, 3 * E, param_dtype=float, rngs=rngs)
                self.head = nnx.Linear(E, V, param_dtype=float, rngs=rngs)

            def __call__(self, x):
                h = ops.batch_norm(self.embedding(x), self.gain[...], self.bias[...])
                q, k, v = jnp.split(self.qkv(h), 3, axis=-1)
                return self.head(h + ops.causal_attention(q, k, v))

        @nnx.jit
        def step(model, optimizer, x, y):
            loss, grads = nnx.value_and_grad(lambda m: ops.cross_entropy(m(x), y))(model)
            optimizer.update(model, grads)
            return loss

        model = Model(nnx.Rngs(0))
        optimizer = nnx.Optimizer(model, optax.sgd(LEARNING_RATE), wrt=nnx.Param)
        return [float(step(model, optimizer, x, y)) for x, y in batches()]

    assert_the_same(train)


@pytest.mark.slow
def test_an_equinox_module():
    """As usual, modules act on one example and are vmapped; BatchNorm acts on the batch."""
    eqx = pytest.importorskip("equinox", reason="the extra 'frameworks' brings Equinox")

    def train(ops: Operations) -> list[float]:
        class Attention(eqx.Module):
            qkv: eqx.nn.Linear

            def __call__(self, h):
                q, k, v = jnp.split(jax.vmap(self.qkv)(h), 3, axis=-1)
                return h + ops.causal_attention(q, k, v)

        class Model(eqx.Module):
            embedding: eqx.nn.Embedding
            gain: jax.Array
            bias: jax.Array
            attention: Attention
            head: eqx.nn.Linear

            def __call__(self, x):
                h = jax.vmap(jax.vmap(self.embedding))(x)
                h = jax.vmap(self.attention)(ops.batch_norm(h, self.gain, self.bias))
                return jax.vmap(jax.vmap(self.head))(h)

        k1, k2, k3 = jax.random.split(jax.random.key(0), 3)
        attention = Attention(eqx.nn.Linear(E, 3 * E, key=k2))
        embedding, head = eqx.nn.Embedding(V, E, key=k1), eqx.nn.Linear(E, V, key=k3)
        model = Model(embedding, jnp.ones(E), jnp.zeros(E), attention, head)
        optimizer = optax.sgd(LEARNING_RATE)

        @eqx.filter_jit
        def step(model, state, x, y):
            loss, grads = eqx.filter_value_and_grad(lambda m: ops.cross_entropy(m(x), y))(model)
            updates, state = optimizer.update(grads, state, eqx.filter(model, eqx.is_array))
            return loss, eqx.apply_updates(model, updates), state

        losses, state = [], optimizer.init(eqx.filter(model, eqx.is_array))
        for x, y in batches():
            loss, model, state = step(model, state, x, y)
            losses.append(float(loss))
        return losses

    assert_the_same(train)
