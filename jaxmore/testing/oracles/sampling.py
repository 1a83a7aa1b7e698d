"""Which elements to move where moving every one would take too long."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

OPERATIONS = 5e9
"""How many floating-point operations the differences of one rule may take, about: some seconds."""
AT_LEAST = 2
"""Elements of each argument that are moved in any case."""
PER_ELEMENT = 30
"""How often the forward runs for one element, with the whole ladder of steps."""
PER_SAMPLED = 5
"""How often it runs for an element of a sample."""
PER_FLOAT = 30
"""What it costs to move one float of the arguments and to compare one of the outputs."""
TRANSCENDENTAL = 20
"""What an exponential or its kin costs."""
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
    lowered = jax.jit(forward).lower(*inputs)
    cost = lowered.cost_analysis() or {}
    floats = sum(sizes) + sum(y.size for y in jax.tree.leaves(lowered.out_info))
    operations = OVERHEAD + PER_FLOAT * floats + float(cost.get("flops", 0))
    operations += TRANSCENDENTAL * float(cost.get("transcendentals", 0))
    if PER_ELEMENT * operations * sum(sizes) <= OPERATIONS:
        return None
    each = max(int(OPERATIONS / (PER_SAMPLED * operations)) // len(inputs), AT_LEAST)
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
