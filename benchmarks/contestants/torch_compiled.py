"""torch.compile: forward, gradient and update of a step in one compiled graph."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.contestants.torch_data import leaves, set_threads, steps
from benchmarks.task import Task


def loss_of(params: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
    C, W1, b1, gain, bias, W2, b2 = params
    hidden = C[x].view(len(x), -1) @ W1 + b1
    var, mean = torch.var_mean(hidden, 0, correction=1)
    h = torch.tanh(gain * (hidden - mean) * torch.rsqrt(var + 1e-5) + bias)
    return F.cross_entropy(h @ W2 + b2, y)


def prepare(task: Task) -> Callable[[], np.ndarray]:
    set_threads(task)
    params = leaves(task)

    @torch.compile(fullgraph=True, dynamic=False)
    def step(params: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
        grads, loss = torch.func.grad_and_value(loss_of)(params, x, y)
        for p, dp in zip(params, grads, strict=True):
            p.sub_(dp, alpha=task.learning_rate)
        return loss

    @torch.no_grad()
    def run() -> np.ndarray:
        losses = [step(params, x, y) for x, y in steps(task)]
        return torch.stack(losses).numpy()

    return run
