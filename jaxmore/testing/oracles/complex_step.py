"""The complex step: a slope with no difference taken, so no digit lost."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmore.testing.oracles.compiled import jit_quickly
from jaxmore.testing.oracles.moves import CHUNK, call


def complex_step(
    function: Callable[..., Any], inputs: Sequence[Any], cotangent: Any
) -> list[np.ndarray] | None:
    """Im f(x + ih) / h with a tiny h: no difference is taken, so no digit is lost.

    It holds for analytic functions alone (not for abs or a maximum over complex numbers), so the
    caller compares it with :func:`central_differences` first.

    Args:
        function: as in :func:`central_differences`.
        inputs: float64 arrays.
        cotangent: a tree like the value.

    Returns:
        The cotangents; None where the function takes no complex numbers.

    Source: Squire & Trapp, Using complex variables to estimate derivatives of real functions
    (SIAM Review 1998).
    """
    shapes = tuple(x.shape for x in inputs)
    point = np.concatenate([np.ravel(x) for x in inputs]).astype(np.complex128)
    try:
        flat = np.asarray(_complex_slopes(function, shapes, jnp.asarray(point), cotangent))
    except Exception:  # whatever a user's forward raises on complex numbers
        return None
    bounds = np.cumsum([x.size for x in inputs])[:-1]
    return [a.reshape(s) for a, s in zip(np.split(flat, bounds), shapes, strict=True)]


@partial(jit_quickly, static_argnums=(0, 1))
def _complex_slopes(
    function: Callable[..., Any],
    shapes: tuple[tuple[int, ...], ...],
    point: Any,
    cotangent: Any,
) -> Any:
    def slope(i: Any) -> Any:
        h = jnp.maximum(jnp.abs(point[i]), 1e-150) * 2.0**-100
        values = jax.tree.leaves(call(function, shapes, point.at[i].add(1j * h)))
        terms = zip(values, jax.tree.leaves(cotangent), strict=True)
        return sum(((jnp.imag(y) / h) * dy).sum() for y, dy in terms)

    n = point.size
    indices = jnp.arange(n if n <= CHUNK else -(-n // CHUNK) * CHUNK)
    return jax.lax.map(slope, indices, batch_size=CHUNK)[:n]
