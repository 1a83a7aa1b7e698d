"""microgpt as in the original: autograd of single numbers, in pure Python; one word at a time."""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.contestants.microgpt_numpy import EPS, N_HEAD, matrices
from benchmarks.task import Task
from tests.scalar_autograd import cross_entropy, scalars


def rms_norm(x: Any) -> Any:
    return x * ((x**2).sum(-1, keepdims=True) * (1 / x.shape[-1]) + EPS) ** -0.5


def attention(qkv: Any) -> Any:
    D = qkv.shape[-1] // 3 // N_HEAD
    q, k, v = qkv.reshape(len(qkv), 3, N_HEAD, D).transpose(1, 2, 0, 3)
    out = np.empty(q.shape, object)
    for h, t in np.ndindex(out.shape[:2]):
        weights = np.exp(k[h, : t + 1] @ q[h, t] * D**-0.5)
        out[h, t] = weights @ v[h, : t + 1] / weights.sum()
    return out.transpose(1, 0, 2).reshape(len(qkv), -1)


def logits(weights: list[Any], x: np.ndarray) -> Any:
    wte, wpe, wqkv, wo, fc1, fc2, head = weights
    h = rms_norm(wte[x] + wpe[: len(x)])
    h = h + attention(rms_norm(h) @ wqkv) @ wo
    hidden = rms_norm(h) @ fc1
    h = h + (hidden * (hidden > 0)) @ fc2
    return h @ head


def prepare(task: Task) -> Callable[[], np.ndarray]:
    weights = [scalars(w) for w in matrices(task.params)]
    parameters = np.concatenate([w.ravel() for w in weights])
    m, v = np.zeros(len(parameters)), np.zeros(len(parameters))
    t = 0

    def run() -> np.ndarray:
        nonlocal t
        losses = np.empty(task.n_steps)
        for i, batch in enumerate(task.indices):
            words = [
                (x[y >= 0], y[y >= 0]) for x, y in zip(task.X[batch], task.Y[batch], strict=True)
            ]
            rows = np.concatenate([logits(weights, x) for x, _ in words])
            loss: Any = cross_entropy(rows, np.concatenate([y for _, y in words]))
            for p in parameters:
                p.grad = 0.0
            loss.backward()
            losses[i], t = loss.value, t + 1
            g = np.array([p.grad for p in parameters])
            m[:] = 0.85 * m + 0.15 * g
            v[:] = 0.99 * v + 0.01 * g * g
            m_hat, v_hat = m / (1 - 0.85**t), v / (1 - 0.99**t)
            steps = task.learning_rate * m_hat / (np.sqrt(v_hat) + 1e-8)
            for p, step in zip(parameters, steps, strict=True):
                p.value -= step
        return losses

    return run
