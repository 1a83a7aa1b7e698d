"""jax.grad through a transformer as its users write it, with jax.nn's attention and gelu."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np

from benchmarks.contestants.grad_scan import LossAndGrad, train_by
from benchmarks.task import Task
from jaxmore import rules


def prepare(task: Task) -> Callable[[], np.ndarray]:
    return train_by(task, loss_and_grad_of(task))


def loss_and_grad_of(
    task: Task, implementation: Literal["xla", "cudnn"] | None = None
) -> LossAndGrad:
    n_head = task.options["n_head"]

    def attention(p: Any, h: jax.Array) -> jax.Array:
        qkv = linear(p["qkv"], layer_norm(p["norm"], h))
        heads = qkv.reshape(*h.shape[:2], 3, n_head, -1)
        q, k, v = (heads[:, :, i] for i in range(3))
        o = jax.nn.dot_product_attention(q, k, v, is_causal=True, implementation=implementation)
        return linear(p["proj"], o.reshape(h.shape))

    def loss_of(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        params = jax.tree.map(lambda p: p.astype(task.dtype), params)
        embedding = params["embedding"]
        positions = embedding["position"]["weight"][: x.shape[1]]
        h = embedding["token"]["weight"][x] + positions
        for block in params["blocks"].values():
            h = h + attention(block["attention"], h)
            mlp = block["mlp"]
            inside = jax.nn.gelu(linear(mlp["hidden"], layer_norm(mlp["norm"], h)))
            h = h + linear(mlp["proj"], inside)
        logits = layer_norm(params["norm"], h) @ params["head"]["weight"]
        return rules.softmax_cross_entropy(logits, y)

    return jax.value_and_grad(loss_of)


def linear(p: Any, x: jax.Array) -> jax.Array:
    return x @ p["weight"] + p["bias"]


def layer_norm(p: Any, x: jax.Array) -> jax.Array:
    return p["gain"] * jax.nn.standardize(x, epsilon=1e-5) + p["bias"]
