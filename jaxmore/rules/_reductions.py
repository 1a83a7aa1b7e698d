"""Forms that XLA compiles to fast CPU code: sums, maxima, and work for one thread.

For timings see "Forms that XLA makes fast" in docs/benchmarks.md.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxmore.rules._precision import widen


def sum_rows(x: Float[Array, "*B E"]) -> Float[Array, " E"]:
    """Sum over all axes but the last, in at least float32.

    The barrier writes ``x`` to memory first. Otherwise XLA fuses its computation into the sum,
    which runs down one column after another and is not vectorised.
    """
    rows = widen(x).reshape(-1, x.shape[-1])
    return lax.optimization_barrier(rows).sum(0)


def max_keepdims(x: Float[Array, "*shape"], *, axis: int = -1) -> Float[Array, "..."]:
    """Return the maximum over ``axis``, which remains as an axis of size 1.

    ``x.max`` propagates NaN, for which there is no vector instruction, so XLA does not vectorise
    it. The comparison here ignores NaN; the exponentials of the caller propagate it.

    It is a constant to autodiff, because the maximum cancels in a softmax.
    """
    least = jnp.array(-jnp.inf, x.dtype)
    maximum = lax.reduce(
        lax.stop_gradient(x), least, lambda a, b: lax.select(b > a, b, a), (axis % x.ndim,)
    )
    return jnp.expand_dims(maximum, axis)


def on_one_thread(
    function: Callable[[Float[Array, "..."]], Float[Array, "..."]], x: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Apply an elementwise ``function`` on one thread where XLA would lose time with several.

    XLA's CPU compiler divides an elementwise computation among threads by its number of operations,
    even if it takes a few microseconds. Waking a thread takes about 30 µs from jax 0.11 on. A
    result that is written into part of an array is not divided, so a loop computes the halves of
    the last axis one after the other. The loop itself takes about 2 µs. The values are the same.

    Under ``vmap`` the size of one example decides, so a large mapped batch stays on one thread.

    On two AVX2 cores with jax 0.12.0.1 a training step of the notebooks' network takes 76 µs in
    place of 118, an LSTM's 2.5 ms in place of 3.7 (``jax.grad``: 77 µs and 2.8 ms; best of 21
    rounds of ``python -m benchmarks training ladder``'s programs).
    """
    # Smaller arrays are not divided; larger ones gain more than the waking takes.
    is_small = 1_600 <= x.size < 65_536
    if jax.__version_info__ < (0, 11) or jax.default_backend() != "cpu" or not is_small:
        return function(x)
    n = x.shape[-1]
    width = -(-n // 2)  # of an odd number of columns, both halves compute the middle one

    def compute_half(i: Array, y: Array) -> Array:
        start = i * (n - width)
        half = function(lax.dynamic_slice_in_dim(x, start, width, -1))
        return lax.dynamic_update_slice_in_dim(y, half, start, -1)

    return lax.fori_loop(0, 2, compute_half, jnp.zeros_like(x))
