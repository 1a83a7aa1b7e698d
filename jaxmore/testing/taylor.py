"""The order of the Taylor remainder: one number that judges the whole gradient."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmore.testing.case import Case, all_numpy
from jaxmore.testing.judgement import DISBELIEF
from jaxmore.testing.oracles.compiled import jit_quickly
from jaxmore.testing.oracles.moves import call

STEPS = 2.0 ** -np.arange(2.0, 44.0)
"""The ε at which the remainder is measured, relative to the size of each element."""
WINDOW = 5
"""How many neighbouring steps make a slope."""
CLEAR = 1e3
"""How far above its rounding error a remainder must be to count."""
STRAIGHT = 0.05
"""How far, in powers of two, the remainders may be from a straight line."""
RIGHT = 1.95
"""The least order of a right gradient; it is 2, or more where the second derivative vanishes."""

ONE = 1.1
"""The most that the order of a wrong gradient is; in between, there is a kink nearby."""
COARSE = 2.0**-12
"""The coarsest step at which a missing slope has to show."""
AGREE = 1e-2
"""How far the slopes that v and −v miss may differ where there is no kink, in units of them."""


def check_taylor(case: Case) -> None:
    """Measure how fast f(x + εv) − f(x) − ε⟨gradient, v⟩ shrinks, for a random direction v.

    A right gradient leaves a remainder of order ε², and one with an error of any size a remainder
    of order ε where ε is small enough. The finest steps decide at which the remainder is clear of
    rounding and a straight line on a log-log scale. A linear forward leaves no remainder, and so
    has no order; nor has one with a kink, where v and −v miss different slopes.
    """
    floats, dy = case.leaves.floats, case.dys[0]
    point = np.concatenate([np.ravel(np.asarray(x)) for x in floats])
    gradient = np.concatenate([np.ravel(d) for d in all_numpy(case.jitted[0])])
    direction = case.random.normal(size=point.shape) * np.where(point != 0, np.abs(point), 1)
    unknown = ~(np.isfinite(direction) & np.isfinite(gradient))
    direction[unknown] = gradient[unknown] = 0
    shapes = tuple(x.shape for x in floats)
    changes, level = _changes(case.plain, shapes, point, direction, dy)
    slope = float(gradient @ direction)
    with np.errstate(all="ignore"):
        forth, back = np.asarray(changes) - np.array([[1], [-1]]) * STEPS * slope
        remainders = np.abs(forth)
        noise = np.finfo("float64").eps * (float(level) + STEPS * abs(slope))
        clear = np.isfinite(remainders) & (remainders > CLEAR * noise)
    order, finest = _order(remainders, clear)
    if order is None:
        return
    missing = remainders[finest] / STEPS[finest]
    # A missing slope changes its sign with v, the bend of a kink does not.
    smooth = abs(forth[finest] + back[finest]) < AGREE * remainders[finest]
    size = float(np.abs(gradient * direction).sum())
    # It stays at finer steps, unless the forward bends at a scale of its own, and at coarser steps,
    # unless the finer ones were lost in the rounding of what the forward computes on its way.
    predicted = missing * STEPS
    looked_at = (predicted > 10 * noise) & (STEPS <= COARSE)
    stays = (np.abs(np.abs(forth - back) / 2 - predicted) <= predicted / 2)[looked_at].all()
    if order >= RIGHT:
        case.report.taylor = order
    elif order < ONE and smooth and stays and missing > DISBELIEF * size:
        case.report.taylor = order
        case.add(
            "taylor",
            f"the Taylor remainder is of order {order:.2f}, not 2: along a random direction the "
            f"cotangents miss {missing:.3g} of {abs(slope):.3g}",
        )
        case.stop_if_wrong()


def _order(remainders: np.ndarray, clear: np.ndarray) -> tuple[float | None, int]:
    """Return the slope of the finest straight window of clear remainders, and its finest step."""
    for last in range(len(STEPS) - 1, WINDOW - 2, -1):
        window = slice(last - WINDOW + 1, last + 1)
        if not clear[window].all():
            continue
        x, y = np.log2(STEPS[window]), np.log2(remainders[window])
        slope, shift = np.polyfit(x, y, 1)
        if np.abs(y - slope * x - shift).max() <= STRAIGHT:
            return float(slope), last
    return None, 0


@partial(jit_quickly, static_argnums=(0, 1))
def _changes(function: Any, shapes: Any, point: Any, direction: Any, cotangent: Any) -> Any:
    """Return ⟨dy, f(x ± εv) − f(x)⟩ for every ε, and the size of the terms that add up to f."""
    middle = jax.tree.leaves(call(function, shapes, point))
    dys = jax.tree.leaves(cotangent)

    def change(step: Any) -> Any:
        moved = jax.tree.leaves(call(function, shapes, point + step * direction))
        return sum((dy * (y - y0)).sum() for y, y0, dy in zip(moved, middle, dys, strict=True))

    level = sum(jnp.abs(dy * y0).sum() for y0, dy in zip(middle, dys, strict=True))
    changes = jax.lax.map(change, jnp.concatenate([STEPS, -STEPS]))
    return changes.reshape(2, -1), level
