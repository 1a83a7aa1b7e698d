"""The Taylor remainder: one number that judges a gradient and needs no tolerance on size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

ORDER = 1.95
"""The least order of a right gradient; it is 2 but for rounding."""
WINDOW = 5
CLEAR = 1e3
"""How far above its rounding error a remainder must be, to count."""


@dataclass(frozen=True)
class Taylor:
    """How fast the remainder shrinks."""

    order: float | None
    """The slope of log remainder against log ε; None where it is at rounding level throughout."""
    steps: tuple[float, float] | None = None
    """The largest and the smallest ε that it is measured between."""

    @property
    def passed(self) -> bool:
        """Whether the gradient is right."""
        return self.order is None or self.order >= ORDER

    def __str__(self) -> str:
        if self.order is None or self.steps is None:
            return "Taylor remainder at rounding level throughout (the function is linear)"
        return f"Taylor remainder of order {self.order:.2f} for ε from {self.steps[0]:.0e} " + (
            f"to {self.steps[1]:.0e}"
        )


def taylor_order(
    function: Callable[..., Any],
    args: Sequence[Any],
    gradients: Sequence[Any],
    dy: Any,
    *,
    seed: int = 0,
) -> Taylor:
    """Measure the order of f(x + εv) − f(x) − ε⟨gradient, v⟩ along a random direction v.

    A right gradient leaves a remainder of order ε². A gradient with an error of any size leaves
    one of order ε where ε is small. The smallest ε whose remainder is clear of rounding decide.

    Args:
        function: a function of float64 arrays that returns one array.
        args: where.
        gradients: the cotangents of ``args`` for the cotangent ``dy``.
        dy: the cotangent of the function's value; f is ⟨dy, function⟩.
        seed: the seed of v.

    Returns:
        The order and the range of ε.

    >>> import numpy as np
    >>> x = np.array([0.3, -1.2])
    >>> print(taylor_order(np.sin, [x], [np.cos(x)], np.ones(2)).passed)
    True
    >>> wrong = taylor_order(np.sin, [x], [1.01 * np.cos(x)], np.ones(2))
    >>> print(wrong.passed, round(wrong.order, 2))
    False 1.0
    """
    rng = np.random.default_rng(seed)
    x = [np.asarray(a, "float64") for a in args]
    v = [rng.normal(size=a.shape) for a in x]
    cotangent = np.asarray(dy, "float64")
    slope = sum(float(np.sum(np.asarray(g) * d)) for g, d in zip(gradients, v, strict=True))
    value = np.asarray(function(*x), "float64")
    level = np.finfo("float64").eps * float(np.abs(cotangent * value).sum() + np.abs(slope))

    def remainder(step: float) -> float:
        moved = [a + step * d for a, d in zip(x, v, strict=True)]
        change = cotangent * (np.asarray(function(*moved), "float64") - value)
        return abs(float(change.sum()) - step * slope)

    steps = [2.0**-k for k in range(1, 45)]
    points = [(step, r) for step in steps if (r := remainder(step)) > CLEAR * level]
    if len(points) < WINDOW:
        return Taylor(None)
    log_step, log_r = np.log2(np.array(points[-WINDOW:])).T
    order = float(np.polyfit(log_step, log_r, 1)[0])
    return Taylor(order, (points[-WINDOW][0], points[-1][0]))
