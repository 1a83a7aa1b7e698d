"""Plain C, ``gcc -O3 -march=native -ffast-math``: the floor. The source stands in plain_c.c."""

import ctypes
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.columns import isa
from benchmarks.contestants.flat import flat_parameters
from benchmarks.task import Task

FLAGS = ["-O3", "-march=native", "-ffast-math", "-fopenmp", "-fPIC"]
VECTORS = {"AVX-512": ["-mprefer-vector-width=512"], "AVX2": ["-mno-avx512f"]}


def prepare(task: Task) -> Callable[[], np.ndarray]:
    program, flat = compile_for(task), flat_parameters(task.params)[0]
    X, Y = (np.ascontiguousarray(a, np.int8) for a in (task.X, task.Y))
    indices = np.ascontiguousarray(task.indices, np.int32)
    program.load(pointer(flat))

    def run() -> np.ndarray:
        losses = np.empty(task.n_steps, np.float32)
        arrays = map(pointer, (X, Y, indices))
        rate = ctypes.c_float(task.learning_rate)
        program.train(*arrays, task.n_steps, rate, pointer(losses))
        return losses

    return run


def compile_for(task: Task) -> ctypes.CDLL:
    """Compile the program for the sizes of a task."""
    (V, E), (TE, H) = (array.shape for array in flat_parameters(task.params)[1][:2])
    sizes = {"B": task.batch_size, "T": TE // E, "E": E, "H": H, "V": V}
    return compile_c(Path(__file__).with_suffix(".c"), sizes)


def time_products(task: Task, rounds: int = 9) -> float:
    """Return the median seconds that the matrix products of a step take without the rest."""
    program, times = compile_for(task), list[float]()
    for _ in range(rounds + 1):
        began = time.perf_counter()
        program.products(task.n_steps)
        times.append((time.perf_counter() - began) / task.n_steps)
    return median(times[1:])


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def compile_c(source: Path, sizes: dict[str, int]) -> ctypes.CDLL:
    """Compile a C program, the sizes as its constants, and load it."""
    with tempfile.TemporaryDirectory() as folder:
        code, library = Path(folder) / "code.o", Path(folder) / "code.so"
        defined = [f"-D{name}={size}" for name, size in sizes.items()]
        flags = [*FLAGS, *VECTORS.get(isa(), [])]
        subprocess.run(["gcc", *flags, *defined, "-c", "-o", code, source], check=True)
        # Linked without -ffast-math, which would flush subnormals in the whole process.
        link = ["gcc", "-shared", "-fopenmp", "-o", library, code, "-lmvec", "-lm"]
        subprocess.run(link, check=True)
        return ctypes.CDLL(str(library))
