"""Keeping a small elementwise computation on one thread."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

# XLA shares out an array of this many elements, where there are many operations for each. Below, it
# does not; above, the threads earn more than it costs to wake them.
_SMALL = range(1_600, 65_536)
_WAKING_IS_SLOW = jax.__version_info__ >= (0, 11)


def on_one_thread(
    function: Callable[[Float[Array, "..."]], Float[Array, "..."]], x: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Apply an elementwise ``function`` on one thread where XLA would lose time with several.

    XLA's CPU compiler divides an elementwise computation among threads by its number of operations,
    even if it takes a few microseconds. Waking a thread takes about 30 µs from jax 0.11 on. A
    result that is written into part of an array is not divided, so a loop computes the halves of
    the last axis one after the other. The loop itself takes about 2 µs. The values are the same.

    On two AVX2 cores with jax 0.12.0.1 a training step of the notebooks' network takes 76 µs in
    place of 118, an LSTM's 2.5 ms in place of 3.7 (``jax.grad``: 77 µs and 2.8 ms; best of 21
    rounds of ``python -m benchmarks training ladder``'s programs).
    """
    if not (_WAKING_IS_SLOW and x.size in _SMALL and jax.default_backend() == "cpu"):
        return function(x)
    n = x.shape[-1]
    width = -(-n // 2)  # of an odd number of columns, both halves compute the middle one

    def compute_half(i: Array, y: Array) -> Array:
        start = i * (n - width)
        half = function(lax.dynamic_slice_in_dim(x, start, width, -1))
        return lax.dynamic_update_slice_in_dim(y, half, start, -1)

    return lax.fori_loop(0, 2, compute_half, jnp.zeros_like(x))
