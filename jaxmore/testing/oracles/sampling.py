"""Which elements to move where moving every one would take too long."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

OPERATIONS = 2e10
"""How many floating-point operations the differences of one rule may take, about."""
AT_LEAST = 2
"""Elements of each argument that are moved in any case."""
PER_ELEMENT = 30
"""How often the forward runs for one element."""
OVERHEAD = 20_000
"""What one run costs that computes next to nothing."""


def sample(forward: Callable[..., Any], inputs: Sequence[Any]) -> np.ndarray | None:
    """Choose the elements to move, as flat indices over all inputs.

    Returns:
        None for all of them, where that is cheap enough. Otherwise of each input the corners, the
        largest and the smallest element, one of each row and column, and random ones.
    """
    sizes = [x.size for x in inputs]
    if sum(sizes) <= 64:
        return None
    cost = jax.jit(forward).lower(*inputs).cost_analysis()
    flops = max(float((cost or {}).get("flops", 0.0)), OVERHEAD, 10.0 * sum(sizes))
    affordable = int(OPERATIONS / (PER_ELEMENT * flops))
    if affordable >= sum(sizes):
        return None
    each = max(affordable // len(inputs), AT_LEAST)
    random = np.random.default_rng(0)
    starts = np.cumsum([0, *sizes[:-1]])
    return np.concatenate(
        [
            start + _of_one(np.asarray(x), each, random)
            for start, x in zip(starts, inputs, strict=True)
            if x.size
        ]
    )


def _of_one(x: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    flat = np.abs(x.ravel())
    chosen = [x.size - 1, int(flat.argmax()), int(flat.argmin()), 0]
    if x.ndim > 1:
        columns = x.shape[-1]
        rows = x.size // columns
        diagonal = np.arange(max(rows, columns))
        chosen += [columns - 1, x.size - columns]
        chosen += ((diagonal % rows) * columns + diagonal % columns).tolist()
    chosen += random.permutation(x.size)[: max(count, 0)].tolist()
    return np.sort(np.array(list(dict.fromkeys(chosen))[: min(count, x.size)]))
