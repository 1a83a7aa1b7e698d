"""What the PyTorch contestants share: device, the seeds' parameters, batches, number of threads."""

import os
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.contestants.flat import flat_parameters
from benchmarks.task import Task

DEVICE = os.environ.get("TORCH_DEVICE", "cpu")
"""``benchmarks.gpu`` sets it."""


def leaves(task: Task) -> list[Tensor]:
    """C, W1, b1, gain, bias, W2 and b2, each a tensor of its own."""
    return [torch.tensor(leaf, device=DEVICE) for leaf in flat_parameters(task.params)[1]]


def batches_of(task: Task) -> Callable[[], tuple[Tensor, Tensor]]:
    """Return a function that gathers the batches of the chunk on the device, (S, B, ...) each."""
    X, Y, indices = (
        torch.tensor(a, dtype=torch.long, device=DEVICE) for a in (task.X, task.Y, task.indices)
    )
    return lambda: (X[indices], Y[indices])


def set_threads(task: Task) -> None:
    """One thread where a step is so short that waking the others costs more than they do."""
    tokens = task.batch_size * (1 if task.Y.ndim == 1 else task.Y.shape[1])
    torch.set_num_threads(1 if tokens <= 128 else os.cpu_count() or 1)
