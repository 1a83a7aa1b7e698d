"""NumPy by hand: closed forms, large arrays written in place, one update of one flat vector."""

from collections.abc import Callable

import numpy as np

from benchmarks.contestants.flat import flat_parameters
from benchmarks.task import Task


def prepare(task: Task) -> Callable[[], np.ndarray]:
    flat, (C, W1, b1, gain, bias, W2, b2) = flat_parameters(task.params)
    dflat, (dC, dW1, db1, dgain, dbias, dW2, db2) = flat_parameters(task.params)
    n, T = task.batch_size, task.X.shape[1]
    (V, E), H = C.shape, len(b1)
    one_hot = np.eye(V, dtype=np.float32)
    ones = np.ones(n, np.float32)  # a product with ones sums over the batch faster than sum(0)
    emb, demb = np.empty((n * T, E), np.float32), np.empty((n * T, E), np.float32)
    x_hat, h, dh, scratch = (np.empty((n, H), np.float32) for _ in range(4))
    logits, chosen = np.empty((n, V), np.float32), np.empty((n, V), np.float32)
    picks = np.empty((n * T, V), np.float32)

    def run() -> np.ndarray:
        X = task.X[task.indices].reshape(task.n_steps, -1).astype(np.intp)
        Y = task.Y[task.indices].astype(np.intp)
        losses = np.empty(task.n_steps, np.float32)
        for i in range(task.n_steps):
            # forward
            C.take(X[i], axis=0, out=emb, mode="clip")
            embcat = emb.reshape(n, -1)
            np.matmul(embcat, W1, out=x_hat)
            np.add(x_hat, b1, out=x_hat)
            np.subtract(x_hat, ones @ x_hat / n, out=x_hat)
            np.multiply(x_hat, x_hat, out=scratch)
            r = 1 / np.sqrt(ones @ scratch / (n - 1) + np.float32(1e-5))
            np.multiply(x_hat, r, out=x_hat)
            np.multiply(x_hat, gain, out=h)
            np.add(h, bias, out=h)
            np.tanh(h, out=h)
            np.matmul(h, W2, out=logits)
            np.add(logits, b2, out=logits)
            np.subtract(logits, logits.max(1, keepdims=True), out=logits)
            targets = one_hot[Y[i]]
            np.multiply(logits, targets, out=chosen)
            losses[i] = -chosen.sum()
            np.exp(logits, out=logits)
            total = logits.sum(1, keepdims=True)
            losses[i] += np.log(total).sum()
            # backward
            np.divide(logits, total, out=logits)
            np.subtract(logits, targets, out=logits)
            np.divide(logits, n, out=logits)  # dlogits
            np.matmul(logits, W2.T, out=dh)
            np.matmul(h.T, logits, out=dW2)
            np.matmul(ones, logits, out=db2)
            np.multiply(h, h, out=h)
            np.subtract(1, h, out=h)
            np.multiply(dh, h, out=dh)  # dhpreact
            np.multiply(dh, x_hat, out=scratch)
            np.matmul(ones, scratch, out=dgain)
            np.matmul(ones, dh, out=dbias)
            np.subtract(dh, dbias / n, out=dh)
            np.multiply(x_hat, dgain / (n - 1), out=x_hat)
            np.subtract(dh, x_hat, out=dh)
            np.multiply(dh, gain * r, out=dh)  # dhprebn
            np.matmul(embcat.T, dh, out=dW1)
            np.matmul(ones, dh, out=db1)
            np.matmul(dh, W1.T, out=demb.reshape(n, -1))
            # picksᵀ demb: np.add.at took three times as long.
            one_hot.take(X[i], axis=0, out=picks, mode="clip")
            np.matmul(picks.T, demb, out=dC)
            np.multiply(dflat, task.learning_rate, out=dflat)
            np.subtract(flat, dflat, out=flat)
        return losses / n

    return run
