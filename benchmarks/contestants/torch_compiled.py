"""torch.compile: forward, gradient and update of a step in one graph, called without Python's help.

``cpp_wrapper`` compiles the calls between the kernels too; it saves a tenth of a small step. Its
caches on disk are off, so that the time to the first step is a first one, as it is for JAX.
"""

import os
from collections.abc import Callable

import numpy as np

os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"  # before torch is imported
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.contestants.torch_data import batches_of, leaves, set_threads
from benchmarks.task import Task


def loss_of(params: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
    C, W1, b1, gain, bias, W2, b2 = params
    hidden = C[x].view(len(x), -1) @ W1 + b1
    var, mean = torch.var_mean(hidden, 0, correction=1)
    h = torch.tanh(gain * (hidden - mean) * torch.rsqrt(var + 1e-5) + bias)
    return F.cross_entropy(h @ W2 + b2, y)


def prepare(task: Task) -> Callable[[], np.ndarray]:
    return train_in_graphs(task, steps_per_graph=1)


def train_in_graphs(task: Task, steps_per_graph: int) -> Callable[[], np.ndarray]:
    set_threads(task)
    torch.compiler.reset()
    batches, params = batches_of(task), leaves(task)

    @torch.compile(fullgraph=True, dynamic=False, options={"cpp_wrapper": True})
    def graph(params: list[Tensor], X: Tensor, Y: Tensor) -> Tensor:
        losses: list[Tensor] = []
        for x, y in zip(X.unbind(), Y.unbind(), strict=True):
            grads, loss = torch.func.grad_and_value(loss_of)(params, x, y)
            for p, dp in zip(params, grads, strict=True):
                p.sub_(dp, alpha=task.learning_rate)
            losses.append(loss)
        return torch.stack(losses)

    @torch.no_grad()
    def run() -> np.ndarray:
        parts = zip(*(a.split(steps_per_graph) for a in batches()), strict=True)
        return torch.cat([graph(params, x, y) for x, y in parts]).numpy()

    return run
