"""The oracle that shares no code with autodiff: differences of the forward in float64."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# Step sizes as powers of two, from coarse to fine, relative to the size of the input.
EXPONENTS = (-4.0, -7.0, -10.0, -13.0, -16.0, -19.0, -22.0)
# Elements whose differences are taken at once: bounds the memory.
CHUNK = 32


class Differences(NamedTuple):
    """For each input, arrays of its shape: <dy, ∂y/∂x> by differences."""

    value: list[np.ndarray]
    error: list[np.ndarray]
    """An estimate of the error of ``value``."""
    low: list[np.ndarray]
    high: list[np.ndarray]
    """The slopes to the left and to the right at the finest step, the smaller first."""


def central_differences(
    function: Callable[..., Any], inputs: Sequence[Any], cotangent: Any
) -> Differences:
    """Five-point central differences, each element at the step size where they settle.

    For f' at step h: (8 (f(x+h) − f(x−h)) − (f(x+2h) − f(x−2h))) / 12h, with error h⁴ f⁽⁵⁾/30
    from the series and ε|f|/h from rounding. Coarse steps suffer from the first, fine ones from
    the second; the estimate is taken where two neighbouring step sizes agree best, and how far
    they agree, or the rounding if that is more, is its error.

    Args:
        function: of float64 arrays alone, with a tree of float64 arrays as its value.
        inputs: the arrays.
        cotangent: a tree like the value.

    Source: Fornberg, Generation of finite difference formulas (1988); for the choice of the
    step Numerical Recipes (2007), section 5.7.
    """
    sizes = [x.size for x in inputs]
    shapes = tuple(x.shape for x in inputs)
    if sum(sizes) == 0:
        empty = [np.zeros(shape) for shape in shapes]
        return Differences(empty, empty, empty, empty)
    point = np.concatenate([np.ravel(x) for x in inputs])
    size = np.concatenate(
        [np.maximum(np.abs(np.ravel(x)), _root_mean_square(x)) for x in map(np.asarray, inputs)]
    )
    slopes = np.asarray(_slopes(function, shapes, point, size, cotangent))  # (steps, elements, 4)
    central, rounding, left, right = np.moveaxis(slopes, -1, 0)
    gaps = np.maximum(np.abs(np.diff(central, axis=0)), rounding[:-1] + rounding[1:])
    gaps = np.where(np.isnan(gaps), np.inf, gaps)
    best = gaps.argmin(0)
    picked = (best + 1, np.arange(len(point)))
    bounds = np.cumsum(sizes)[:-1]

    def split(flat: np.ndarray) -> list[np.ndarray]:
        return [a.reshape(s) for a, s in zip(np.split(flat, bounds), shapes, strict=True)]

    one_sided = np.sort([left[-1], right[-1]], axis=0)  # at a kink they differ at every step
    return Differences(
        split(central[picked]), split(gaps.min(0)), split(one_sided[0]), split(one_sided[1])
    )


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
    except (TypeError, ValueError, NotImplementedError):
        return None
    bounds = np.cumsum([x.size for x in inputs])[:-1]
    return [a.reshape(s) for a, s in zip(np.split(flat, bounds), shapes, strict=True)]


@partial(jax.jit, static_argnums=(0, 1))
def _slopes(
    function: Callable[..., Any],
    shapes: tuple[tuple[int, ...], ...],
    point: Any,
    size: Any,
    cotangent: Any,
) -> Any:
    """At each step size, for each element: the difference, its rounding, both one-sided slopes."""
    middle = _call(function, shapes, point)
    offsets = jnp.array([-2.0, -1.0, 1.0, 2.0])

    def of_element(i: Any) -> Any:
        # Powers of two, so that x + h loses no bits of h where x is of the size of h's.
        steps = jnp.exp2(jnp.round(jnp.log2(size[i])) + jnp.array(EXPONENTS))
        at = lambda step: _call(function, shapes, point.at[i].add(step))  # noqa: E731
        moved = jax.vmap(jax.vmap(at))(steps[:, None] * offsets)
        total = jnp.zeros((len(EXPONENTS), 4))
        for y, y0, dy in zip(*map(jax.tree.leaves, (moved, middle, cotangent)), strict=True):
            h = steps.reshape(-1, *[1] * y0.ndim)
            # What does not depend on x cancels before it meets dy, and has no rounding either.
            depends = (y != y0).any((0, 1))
            central = (8 * (y[:, 2] - y[:, 1]) - (y[:, 3] - y[:, 0])) / (12 * h)
            rounding = jnp.finfo(y.dtype).eps * jnp.where(depends, jnp.abs(y0), 0) / h
            left, right = (y0 - y[:, 1]) / h, (y[:, 2] - y0) / h
            terms = [dy * central, jnp.abs(dy) * rounding, dy * left, dy * right]
            axes = tuple(range(1, y0.ndim + 1))
            total += jnp.stack([term.sum(axes) for term in terms], axis=-1)
        return total

    return jnp.moveaxis(_of_each(of_element, point.size), 0, 1)


@partial(jax.jit, static_argnums=(0, 1))
def _complex_slopes(
    function: Callable[..., Any],
    shapes: tuple[tuple[int, ...], ...],
    point: Any,
    cotangent: Any,
) -> Any:
    h = 2.0**-100

    def slope(i: Any) -> Any:
        values = jax.tree.leaves(_call(function, shapes, point.at[i].add(1j * h)))
        terms = zip(values, jax.tree.leaves(cotangent), strict=True)
        return sum(((jnp.imag(y) / h) * dy).sum() for y, dy in terms)

    return _of_each(slope, point.size)


def _of_each(function: Callable[[Any], Any], n: int) -> Any:
    """``function(i)`` for each i < n, by chunks. The last is whole too: XLA compiles one alone."""
    indices = jnp.arange(n if n <= CHUNK else -(-n // CHUNK) * CHUNK)
    return jax.lax.map(function, indices, batch_size=CHUNK)[:n]


def _call(function: Callable[..., Any], shapes: Sequence[tuple[int, ...]], point: Any) -> Any:
    bounds = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    parts = jnp.split(point, bounds)
    return function(*[part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)])


def _root_mean_square(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x)))) or 1.0 if x.size else 1.0
