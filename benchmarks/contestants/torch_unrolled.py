"""torch.compile with ten steps unrolled in one graph: PyTorch's nearest to a scan on a CPU."""

from collections.abc import Callable

import numpy as np

from benchmarks.contestants.torch_compiled import train_in_graphs
from benchmarks.task import Task


def prepare(task: Task) -> Callable[[], np.ndarray]:
    return train_in_graphs(task, steps_per_graph=10)
