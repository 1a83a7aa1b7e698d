"""Rematerialisation: making XLA recompute values in the backward pass."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_Residuals = TypeVar("_Residuals")
_without: ContextVar[bool] = ContextVar("without", default=False)


@contextmanager
def without_recomputing() -> Generator[None]:
    """Let :func:`recompute_after` do nothing while a backward pass is traced.

    Its comparison changes no value, but JAX transposes a program only if each operation in it is
    linear. (In forward mode there is nothing to recompute: nothing is kept.) And where a batch is
    sharded, a signal that is a sum over the batch would be a collective of its own.
    """
    token = _without.set(True)
    try:
        yield
    finally:
        _without.reset(token)


def recompute_after(signal: Float[Array, "*shape"], residuals: _Residuals) -> _Residuals:
    """Return ``residuals`` unchanged, but make them depend on ``signal``, a part of the cotangent.

    The compiler sees forward and backward pass as one program. It merges equal expressions and
    schedules each as soon as its operands exist, so a value that the backward pass recomputes from
    residuals would be the array of the forward pass, kept alive in between, and no memory would be
    saved. ``jax.lax.optimization_barrier`` is meant to prevent this, but XLA's CPU compiler removes
    it before the last merging and scheduling passes. So this function selects each element by
    comparing the signal with itself: the element where they are equal, which holds for every
    number, and NaN where the signal is NaN. XLA cannot remove the selection, and fuses it into
    whatever comes next.

    Args:
        signal: a part of the cotangent. A NaN in it becomes a NaN in the residuals, so choose a
            part whose NaN would reach the same gradients anyway. It and each residual broadcast
            together.
        residuals: a tree of floating-point arrays.

    >>> import jax.numpy as jnp
    >>> recompute_after(jnp.array(0.5), {"x": jnp.array([3.0])})["x"].tolist()
    [3.0]
    """
    if _without.get():
        return residuals
    return jax.tree.map(lambda x: jnp.where(signal == signal, x, jnp.nan), residuals)
