"""The notebooks' table: compare each hand-derived cotangent of the network with autodiff."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxmore.ninja import stepwise
from jaxmore.testing import oracles
from jaxmore.testing.oracles.condition import intermediate_scales


@cache
def autodiff(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return a jitted function for a network's cotangents, computed by ``jax.vjp``."""
    return jax.jit(partial(oracles.intermediate_cotangents, forward))


autodiff_cotangents = autodiff(stepwise.forward)
"""The cotangents of the parameters and of the intermediates, computed by ``jax.vjp``."""

LINE = "{:15s} | exact: {!s:5s} | approximate: {!s:5s} | maxdiff: {}"


class Comparison(NamedTuple):
    """One line of the table: two values of one cotangent, compared as the seeds' ``cmp`` does."""

    name: str
    exact: bool
    """Equal bit for bit (0.0 equals −0.0)."""
    approximate: bool
    """Within 1e-8 + 1e-5 · |oracle| everywhere, the defaults of ``torch.allclose``, or 8 rounding
    errors of the condition scale where one is given."""
    maxdiff: float

    def __str__(self) -> str:
        return LINE.format(*self)


def compare(name: str, ours: Any, oracle: Any, scale: Any = 0.0) -> Comparison:
    """Compare a cotangent with the oracle's, which must have the same shape and dtype.

    Args:
        name: of the variable.
        ours: the cotangent.
        oracle: the oracle's.
        scale: the sums that make the cotangent, taken over absolute terms. A cotangent whose terms
            cancel, as b1's do to zero, is no more exact than they are.
    """
    ours, oracle = np.asarray(ours), np.asarray(oracle)
    if ours.shape != oracle.shape or ours.dtype != oracle.dtype:
        raise ValueError(
            f"{name}: {ours.dtype}{list(ours.shape)} is no match for "
            f"{oracle.dtype}{list(oracle.shape)}"
        )
    off = np.abs(ours - oracle)
    near = np.isclose(ours, oracle, rtol=1e-5, atol=1e-8)
    near |= off <= 8 * np.finfo(oracle.dtype).eps * np.asarray(scale)
    return Comparison(
        name,
        exact=bool((ours == oracle).all()),
        approximate=bool(near.all()),
        maxdiff=float(off.max(initial=0)),
    )


def stepwise_table(
    params: stepwise.Parameters,
    X: Int[Array, "B T"],
    Y: Int[Array, " B"],
    dtype: Literal["float32", "float64"] = "float32",
) -> list[Comparison]:
    """Compare the 26 hand-derived cotangents and the closed forms with ``jax.vjp``.

    Args:
        params: the parameters; they are converted to ``dtype``.
        X: (B, T) contexts, ids in [0, V).
        Y: (B,) targets, ids in [0, V).
        dtype: the dtype of the computation. float64 is enabled for this call only.

    Returns:
        A line for each name of :class:`~jaxmore.ninja.stepwise.Cotangents` in its order (b1
        only where there is one), then one for each form of Exercise 2 (``dlogits_closed``,
        ``dlogits_outer``) and Exercise 3 (``dhprebn_closed``, ``dhprebn_outer``).

    Raises:
        ValueError: B = 1, which has no unbiased variance.

    Source: seed 001, cells 5 to 12.
    """
    with jax.enable_x64(dtype == "float64"):
        params = jax.tree.map(partial(jnp.array, dtype=dtype), params)
        v = stepwise.forward(params, X, Y)
        d = stepwise.backward(params, X, Y, v)
        oracle = _by_name(*autodiff_cotangents(params, X, Y))
        ours = [(name, name, value) for name, value in d._asdict().items() if value is not None]
        for closed in (stepwise.dlogits_closed, stepwise.dlogits_outer):
            ours.append((closed.__name__, "logits", jax.jit(closed)(v.logits, Y)))
        for closed in (stepwise.dhprebn_closed, stepwise.dhprebn_outer):
            value = jax.jit(closed)(params.bngain, v.bnraw, v.bnvar_inv, d.hpreact)
            ours.append((closed.__name__, "hprebn", value))
        table = [compare(line, value, oracle[of]) for line, of, value in ours]
        if not all(line.approximate for line in table):
            scales = _by_name(*intermediate_scales(stepwise.forward, params, X, Y))
            table = [compare(line, value, oracle[of], scales[of]) for line, of, value in ours]
    return table


def _by_name(of_parameters: stepwise.Parameters, of_intermediates: Any) -> dict[str, Any]:
    return of_intermediates._asdict() | of_parameters._asdict()


def format_table(comparisons: list[Comparison]) -> str:
    """Format the lines of the table as the seeds print them.

    >>> print(format_table([Comparison("logits", False, True, 6.05e-09)]))
    logits          | exact: False | approximate: True  | maxdiff: 6.05e-09
    """
    return "\n".join(map(str, comparisons))


def dump(params: stepwise.Parameters, X: Int[Array, "B T"], Y: Int[Array, " B"]) -> str:
    """Print name, shape and values of every intermediate and of its cotangent, as seed 003 does.

    Args:
        params: the parameters.
        X: (B, T) contexts.
        Y: (B,) targets.

    Returns:
        For each intermediate, in the order of the forward pass, its values and then those of its
        cotangent, as NumPy prints them; the loss comes last.

    Source: seed 003, cells 20 to 38.
    """
    v = stepwise.forward(params, X, Y)
    d = stepwise.backward(params, X, Y, v)._asdict()
    blocks: list[str] = []
    for name, value in v._asdict().items():
        blocks.append(f"{name} {value.shape}\n{np.asarray(value)}")
        if name in d:
            blocks.append(f"d{name} {d[name].shape}\n{np.asarray(d[name])}")
    return "\n\n".join(blocks)
