"""The bridge to JAX's autodiff: use a rule under ``jax.grad``."""

import inspect
from collections.abc import Callable
from typing import Any

import jax


def custom_vjp(
    op: Callable[..., Any],
    op_fwd: Callable[..., tuple[Any, Any]],
    op_bwd: Callable[..., tuple[Any, ...]],
    **options: Any,
) -> Callable[..., Any]:
    """Return ``op`` with ``op_bwd`` as its gradient under ``jax.grad``, with the options bound.

    Args:
        op: the plain forward function, ``op(*arrays, **options) -> y``.
        op_fwd: ``op_fwd(*arrays, **options) -> (y, residuals)``.
        op_bwd: ``op_bwd(residuals, dy, **options) -> cotangents``, one for each array argument.
        **options: the keyword-only options of the rule (``eps``, ``axis``, ...).

    Returns:
        A function of the arrays alone. It works under ``jax.grad``, ``jit``, ``vmap``, ``scan`` and
        ``checkpoint``, and its gradient can be differentiated again in reverse mode. (As with every
        ``jax.custom_vjp``, forward mode needs ``op`` itself.)

    Raises:
        ValueError: under ``jax.grad``, if the number of cotangents that ``op_bwd`` returns differs
            from the number of array arguments of ``op``.

    >>> import jax
    >>> from jaxmore.rules import tanh, tanh_bwd, tanh_fwd
    >>> f = custom_vjp(tanh, tanh_fwd, tanh_bwd)
    >>> float(jax.grad(f)(jax.numpy.array(0.0)))
    1.0
    """
    parameters = inspect.signature(op).parameters.values()
    open_ended = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    n_arguments = sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)

    def forward(*args: Any) -> Any:
        return op(*args, **options)

    def fwd(*args: Any) -> tuple[Any, Any]:
        y, residuals = op_fwd(*args, **options)
        # Which arguments were given is static, so pass it as tree structure, not as values.
        return y, (residuals, tuple(None if arg is None else () for arg in args))

    def bwd(saved: tuple[Any, tuple[Any, ...]], dy: Any) -> tuple[Any, ...]:
        residuals, given = saved
        cotangents = op_bwd(residuals, dy, **options)
        if not open_ended and len(cotangents) != n_arguments:
            raise ValueError(f"{len(cotangents)} cotangents for {n_arguments} arguments")
        # JAX expects no cotangent for an optional argument that was left out (a bias).
        return tuple(None if arg is None else d for arg, d in zip(given, cotangents, strict=False))

    rule = jax.custom_vjp(forward)
    rule.defvjp(fwd, bwd)
    return rule
