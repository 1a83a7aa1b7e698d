"""jax.grad as in grad_plain_scan, with cuDNN's attention: bfloat16 on a GPU alone."""

from collections.abc import Callable

import numpy as np

from benchmarks.contestants.grad_plain_scan import loss_and_grad_of
from benchmarks.contestants.grad_scan import train_by
from benchmarks.task import Task


def prepare(task: Task) -> Callable[[], np.ndarray]:
    return train_by(task, loss_and_grad_of(task, "cudnn"))
