"""torch.compile's reduce-overhead: its kernels are launched by CUDA graphs, on a CPU one by one."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch._inductor import config

from benchmarks.contestants import torch_compiled
from benchmarks.contestants.torch_data import DEVICE, leaves
from benchmarks.contestants.torch_twin import train_by, twin_of
from benchmarks.task import Task
from reference.twin import cross_entropy


def prepare(task: Task) -> Callable[[], np.ndarray]:
    torch.compiler.reset()
    # On a GPU what keeps a graph from being captured is an error, not a warning and a slow step.
    config.triton.cudagraph_or_error = DEVICE == "cuda"
    if task.type == "mlp-bn":
        params = [leaf.requires_grad_() for leaf in leaves(task)]
        for param in params:
            torch._dynamo.mark_static_address(param)  # else each step copies it into the graph
        loss_of = partial(torch_compiled.loss_of, params)
    else:
        module = twin_of(task)
        params = list(module.parameters())

        def loss_of(x: Tensor, y: Tensor) -> Tensor:
            return cross_entropy(module(x), y)

    compiled = torch.compile(loss_of, mode="reduce-overhead", fullgraph=True, dynamic=False)

    def step(x: Tensor, y: Tensor) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        return compiled(x, y).clone()  # the next step writes where this one's loss lies

    return train_by(task, params, step)
