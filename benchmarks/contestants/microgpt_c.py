"""microgpt in plain C, compiled as plain_c.py says. The source stands in microgpt_c.c."""

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.contestants.microgpt_numpy import N_HEAD, matrices
from benchmarks.contestants.plain_c import compile_c, pointer
from benchmarks.task import Task


def load(task: Task) -> tuple[ctypes.CDLL, list[ctypes.c_void_p], list[np.ndarray]]:
    """Compile the program for a task and give it the parameters.

    Returns:
        The program, pointers to X, Y and the batches, and the arrays that these point into.
    """
    V, E = task.params["embedding"]["token"]["weight"].shape
    sizes = {"T": task.X.shape[1], "V": V, "D": E // N_HEAD}
    program = compile_c(Path(__file__).with_suffix(".c"), sizes)
    flat = np.concatenate([w.ravel() for w in matrices(task.params)])
    program.load(pointer(flat))
    X, Y = (np.ascontiguousarray(a, np.int8) for a in (task.X, task.Y))
    arrays: list[np.ndarray] = [X, Y, np.ascontiguousarray(task.indices, np.int32)]
    return program, [pointer(a) for a in arrays], arrays


def prepare(task: Task) -> Callable[[], np.ndarray]:
    program, pointers, arrays = load(task)
    rate = ctypes.c_float(task.learning_rate)

    def run() -> np.ndarray:
        losses = np.empty(len(arrays[2]), np.float32)
        program.train(*pointers, task.batch_size, task.n_steps, rate, pointer(losses))
        return losses

    return run


def first_gradient(task: Task) -> tuple[float, list[np.ndarray]]:
    """Return the loss of the first batch and the gradient of each of ``matrices``, in float32."""
    program, pointers, arrays = load(task)
    program.gradient.restype = ctypes.c_float
    shapes = [w.shape for w in matrices(task.params)]
    ends = np.cumsum([np.prod(shape) for shape in shapes])
    flat = np.empty(ends[-1], np.float32)
    loss = program.gradient(*pointers, task.batch_size, pointer(flat))
    del arrays
    return loss, [g.reshape(s) for g, s in zip(np.split(flat, ends[:-1]), shapes, strict=True)]
