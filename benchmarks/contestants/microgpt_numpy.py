"""microgpt in NumPy by hand: closed forms, whole batches, Adam on one flat vector."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from benchmarks.task import Task

N_HEAD = 4
EPS = 1e-5


def matrices(params: dict[str, Any]) -> list[Float[np.ndarray, "I O"]]:
    """wte, wpe, wqkv, wo, fc1, fc2 and the head, each (in, out)."""
    block = params["blocks"]["0"]
    layers = (
        params["embedding"]["token"],
        params["embedding"]["position"],
        block["attention"]["qkv"],
        block["attention"]["proj"],
        block["mlp"]["hidden"],
        block["mlp"]["proj"],
        params["head"],
    )
    return [layer["weight"] for layer in layers]


def normalise(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + x.dtype.type(EPS))
    return x * r, r


def normalise_back(y: np.ndarray, r: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """y = x r, r = (mean(x²) + eps)^-½: dx = r (dy − y mean(y dy))."""
    return r * (dy - y * (y * dy).mean(-1, keepdims=True))


def loss_and_grads(
    weights: list[np.ndarray], x: Int[np.ndarray, "B T"], y: Int[np.ndarray, "B T"]
) -> tuple[float, list[np.ndarray]]:
    """The mean loss over the targets that are not −1, and the gradient of each matrix."""
    wte, wpe, wqkv, wo, fc1, fc2, head = weights
    (B, T), E = x.shape, wte.shape[1]
    D = E // N_HEAD
    scale = wte.dtype.type(D**-0.5)
    x0 = wte[x] + wpe[:T]
    x1, r0 = normalise(x0)
    h1, r1 = normalise(x1)
    qkv = (h1.reshape(-1, E) @ wqkv).reshape(B, T, 3, N_HEAD, D).transpose(2, 0, 3, 1, 4)
    q, k, v = qkv  # each (B, N, T, D)
    scores = (q @ k.swapaxes(2, 3)) * scale
    scores[..., ~np.tri(T, dtype=bool)] = -np.inf
    att = np.exp(scores - scores.max(-1, keepdims=True))
    att /= att.sum(-1, keepdims=True)
    o = (att @ v).transpose(0, 2, 1, 3).reshape(-1, E)
    x2 = x1 + (o @ wo).reshape(B, T, E)
    h2, r2 = normalise(x2)
    hidden = np.maximum(h2.reshape(-1, E) @ fc1, 0)
    x3 = x2 + (hidden @ fc2).reshape(B, T, E)
    logits = x3.reshape(-1, E) @ head
    targets = y.reshape(-1)
    rows = np.flatnonzero(targets >= 0)
    logits -= logits.max(-1, keepdims=True)
    p = np.exp(logits)
    total = p.sum(-1, keepdims=True)
    loss = -(logits[rows, targets[rows]] - np.log(total[rows, 0])).mean()

    p /= total
    p[rows, targets[rows]] -= 1
    p[targets < 0] = 0
    p /= len(rows)  # dlogits
    dhead = x3.reshape(-1, E).T @ p
    dx = (p @ head.T).reshape(B, T, E)
    flat = dx.reshape(-1, E)
    dfc2 = hidden.T @ flat
    dhidden = (flat @ fc2.T) * (hidden > 0)
    dfc1 = h2.reshape(-1, E).T @ dhidden
    dx = dx + normalise_back(h2, r2, (dhidden @ fc1.T).reshape(B, T, E))
    flat = dx.reshape(-1, E)
    dwo = o.T @ flat
    do = (flat @ wo.T).reshape(B, T, N_HEAD, D).transpose(0, 2, 1, 3)
    datt = do @ v.swapaxes(2, 3)
    dscores = att * (datt - (att * datt).sum(-1, keepdims=True)) * scale
    dqkv = np.stack([dscores @ k, dscores.swapaxes(2, 3) @ q, att.swapaxes(2, 3) @ do])
    dqkv = dqkv.transpose(1, 3, 0, 2, 4).reshape(-1, 3 * E)
    dwqkv = h1.reshape(-1, E).T @ dqkv
    dx = dx + normalise_back(h1, r1, (dqkv @ wqkv.T).reshape(B, T, E))
    dx = normalise_back(x1, r0, dx)
    dwpe = np.zeros_like(wpe)
    dwpe[:T] = dx.sum(0)
    dwte = np.eye(len(wte), dtype=wte.dtype)[x.reshape(-1)].T @ dx.reshape(-1, E)
    return float(loss), [dwte, dwpe, dwqkv, dwo, dfc1, dfc2, dhead]


def first_gradient(task: Task) -> tuple[float, list[np.ndarray]]:
    """Return the loss of the first batch and the gradient of each of ``matrices``, in float64."""
    weights = [w.astype(np.float64) for w in matrices(task.params)]
    batch = task.indices[0]
    return loss_and_grads(weights, task.X[batch], task.Y[batch])


def prepare(task: Task) -> Callable[[], np.ndarray]:
    shapes = [w.shape for w in matrices(task.params)]
    ends = np.cumsum([np.prod(shape) for shape in shapes])[:-1]
    flat = np.concatenate([w.ravel() for w in matrices(task.params)])
    weights = [w.reshape(s) for w, s in zip(np.split(flat, ends), shapes, strict=True)]
    m, v = np.zeros_like(flat), np.zeros_like(flat)
    t = 0

    def run() -> np.ndarray:
        nonlocal t
        losses = np.empty(task.n_steps, np.float32)
        for i, batch in enumerate(task.indices):
            losses[i], grads = loss_and_grads(weights, task.X[batch], task.Y[batch])
            g = np.concatenate([grad.ravel() for grad in grads])
            t += 1
            m[:] = 0.85 * m + 0.15 * g
            v[:] = 0.99 * v + 0.01 * g * g
            m_hat, v_hat = m / (1 - 0.85**t), v / (1 - 0.99**t)
            flat[:] -= task.learning_rate * m_hat / (np.sqrt(v_hat) + 1e-8)
        return losses

    return run
