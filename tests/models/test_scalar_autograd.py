"""Every model against scalar autograd: an oracle without arrays, JAX or PyTorch."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore import loss_and_grad
from jaxmore.layers import by_path
from jaxmore.models import MODELS
from tests.scalar_autograd import cross_entropy, scalars

V, B, T = 3, 2, 3


def linear(p, x):
    return x @ p["weight"] + p.get("bias", 0.0)


def sigmoid(x):
    return 1.0 / (np.exp(-x) + 1.0)


def gelu(x):
    return 0.5 * x * (np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3)) + 1.0)


def mean(x):
    return x.sum(-1, keepdims=True) * (1 / x.shape[-1])


def rms_norm(x):
    return x * (mean(x**2) + 1e-5) ** -0.5


def layer_norm(p, x):
    centred = x - mean(x)
    return p["gain"] * centred * (mean(centred**2) + 1e-5) ** -0.5 + p["bias"]


def batch_norm(p, x):
    rows = x.reshape(-1, x.shape[-1])
    centred = rows - rows.sum(0) * (1 / len(rows))
    var = (centred**2).sum(0) * (1 / (len(rows) - 1))
    return (p["gain"] * centred * (var + 1e-5) ** -0.5 + p["bias"]).reshape(x.shape)


def attention(p, x, n_head):
    heads = [np.split(part, n_head, -1) for part in np.split(linear(p["qkv"], x), 3, -1)]
    outs = [[head(*rows) for rows in zip(*qkv, strict=True)] for qkv in zip(*heads, strict=True)]
    return linear(p["proj"], np.concatenate([np.array(out) for out in outs], -1))


def head(q, k, v):
    rows = []
    for t in range(len(q)):
        weights = np.exp(k[: t + 1] @ q[t] * q.shape[-1] ** -0.5)
        rows.append(weights @ v[: t + 1] / weights.sum())
    return np.array(rows)


def mlp_bn(p, x):
    hidden = batch_norm(p["norm"], linear(p["hidden"], embedded(p, x)))
    return linear(p["head"], np.tanh(hidden))


def bengio(p, x):
    return linear(p["head"], np.tanh(linear(p["hidden"], embedded(p, x))))


def embedded(p, x):
    return p["embedding"]["weight"][x].reshape(*x.shape[:-1], -1)


def deep_mlp_bn(p, x):
    h = embedded(p, x)
    for block in p["blocks"].values():
        h = np.tanh(batch_norm(block["norm"], linear(block["hidden"], h)))
    return batch_norm(p["norm"], linear(p["head"], h))


def wavenet(p, x):
    h = p["embedding"]["weight"][x]
    for level in p["levels"].values():
        pairs = h.reshape(len(h), h.shape[1] // 2, -1)
        h = np.tanh(batch_norm(level["norm"], linear(level["hidden"], pairs)))
    return linear(p["head"], h[:, 0])


def bigram(p, x):
    return p["logits"]["weight"][x]


def mlp(p, x):
    n = p["hidden"]["weight"].shape[0] // p["embedding"]["weight"].shape[1]
    before = np.full((len(x), n - 1), V)
    ids = np.concatenate([before, x], 1)
    contexts = np.stack([ids[:, t : t + n][:, ::-1] for t in range(x.shape[1])], 1)
    return bengio(p, contexts)


def with_positions(p, x):
    return p["token"]["weight"][x] + p["position"]["weight"][: x.shape[1]]


def bow(p, x):
    h = with_positions(p["embedding"], x)
    h = h + np.stack([h[:, : t + 1].sum(1) * (1 / (t + 1)) for t in range(x.shape[1])], 1)
    h = h + linear(p["mlp"]["proj"], np.tanh(linear(p["mlp"]["hidden"], h)))
    return linear(p["head"], h)


def recurrent(cell):
    def model(p, x):
        xs = p["embedding"]["weight"][x]
        state = [np.stack([row] * len(x)) for row in p["hidden"]["start"]]
        hs = []
        for t in range(x.shape[1]):
            state = cell(p["hidden"]["cell"], xs[:, t], *state)
            hs.append(state[0])
        return linear(p["head"], np.stack(hs, 1))

    return model


def join(x, h):
    return np.concatenate([x, h], -1)


@recurrent
def rnn(p, x, h):
    return [np.tanh(linear(p, join(x, h)))]


@recurrent
def gru(p, x, h):
    z, r = (sigmoid(linear(p[gate], join(x, h))) for gate in ("update", "reset"))
    return [(1.0 - z) * h + z * np.tanh(linear(p["candidate"], join(x, r * h)))]


@recurrent
def lstm(p, x, h, c):
    i, f, g, o = np.split(linear(p, join(x, h)), 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return [sigmoid(o) * np.tanh(c), c]


def transformer(p, x):
    h = with_positions(p["embedding"], x)
    for block in p["blocks"].values():
        a, m = block["attention"], block["mlp"]
        h = h + attention(a, layer_norm(a["norm"], h), 2)
        h = h + linear(m["proj"], gelu(linear(m["hidden"], layer_norm(m["norm"], h))))
    return linear(p["head"], layer_norm(p["norm"], h))


def microgpt(p, x):
    h = rms_norm(with_positions(p["embedding"], x))
    for block in p["blocks"].values():
        h = h + attention(block["attention"], rms_norm(h), 2)
        hidden = linear(block["mlp"]["hidden"], rms_norm(h))
        h = h + linear(block["mlp"]["proj"], hidden * (hidden > 0))
    return linear(p["head"], h)


class Case(NamedTuple):
    forward: Any
    options: dict[str, int]


SIZES = {"n_embd": 2, "n_embd2": 3}
GPT = {"block_size": 4, "n_layer": 2, "n_head": 2, "n_embd": 4}
CASES = {
    "mlp-bn": Case(mlp_bn, SIZES | {"block_size": T}),
    "bengio": Case(bengio, SIZES | {"block_size": T}),
    "deep-mlp-bn": Case(deep_mlp_bn, SIZES | {"block_size": T, "n_layer": 2}),
    "wavenet": Case(wavenet, SIZES | {"block_size": 4}),
    "bigram": Case(bigram, {}),
    "mlp": Case(mlp, SIZES | {"block_size": 2}),
    "bow": Case(bow, SIZES | {"block_size": 4}),
    "rnn": Case(rnn, SIZES),
    "gru": Case(gru, SIZES),
    "lstm": Case(lstm, SIZES),
    "transformer": Case(transformer, GPT),
    "microgpt": Case(microgpt, GPT),
}


def test_every_model_is_here():
    assert CASES.keys() == MODELS.keys()


@pytest.mark.usefixtures("x64", "strict_promotion")
@pytest.mark.parametrize("type", CASES)
@pytest.mark.quick("rnn")
def test_loss_and_every_gradient(type):
    forward, options = CASES[type]
    model, rng = MODELS[type].make(V, **options), np.random.default_rng(3)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: jnp.array(rng.normal(0.1, 0.6, leaf.shape)), shapes)
    x = rng.integers(0, V, (4, 4 if type == "wavenet" else T))
    y = rng.integers(0, V, x.shape if MODELS[type].reads == "sequences" else len(x))
    x[-1], y.flat[1] = x[0], -1
    theirs = jax.tree.map(scalars, params)
    expected = cross_entropy(forward(theirs, x), y)
    expected.backward()
    ids = jnp.array(x, "int32"), jnp.array(y, "int32")
    loss, grads = jax.jit(loss_and_grad, static_argnums=0)(model, params, *ids)
    np.testing.assert_allclose(loss, expected.value, rtol=1e-13)
    wanted = by_path(theirs)
    for path, grad in by_path(grads).items():
        numbers = wanted[path].ravel()
        scale = max(number.scale for number in numbers)
        assert scale > 1e-3, path  # no gradient passes because nothing reaches it
        want = np.reshape([number.grad for number in numbers], grad.shape)
        np.testing.assert_allclose(grad, want, rtol=0, atol=1e-12 * scale, err_msg=path)
