"""A number of the program in three readings: a float64, an exact number and its tangent."""

from dataclasses import dataclass
from typing import Any

import numpy as np

Real = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Cell:
    """An array of the program."""

    real: Real
    """The values of a real run in float64, which decide comparisons, maxima and the order."""
    number: Any
    """The exact numbers (:class:`~jaxmore.prove.residues.Residues`, or balls)."""
    tangent: Any = None
    """The derivative along the chosen direction, in the same arithmetic; None is zero."""

    def take(self, index: Real) -> "Cell":
        """Gather by flat index."""
        real = np.asarray(self.real).reshape(-1)[index]
        tangent = None if self.tangent is None else self.tangent.take(index)
        return Cell(real, self.number.take(index), tangent)

    def __add__(self, other: "Cell") -> "Cell":
        tangent = _sum(self.tangent, other.tangent, self, other)
        return Cell(self.real + other.real, self.number + other.number, tangent)

    def __neg__(self) -> "Cell":
        return Cell(-self.real, -self.number, None if self.tangent is None else -self.tangent)

    def __sub__(self, other: "Cell") -> "Cell":
        return self + -other

    def __mul__(self, other: "Cell") -> "Cell":
        """The product rule."""
        left = None if self.tangent is None else self.tangent * other.number
        right = None if other.tangent is None else self.number * other.tangent
        tangent = left if right is None else right if left is None else left + right
        return Cell(self.real * other.real, self.number * other.number, tangent)

    def __truediv__(self, other: "Cell") -> "Cell":
        """The quotient rule, as the product with 1/other, whose derivative is −1/other²."""
        return self * other.chain(
            1 / other.real, inverse := other.number.reciprocal(), lambda: -(inverse * inverse)
        )

    def chain(self, real: Real, value: Any, slope: Any) -> "Cell":
        """Return f(self), given its values and a function that gives its slope: the chain rule."""
        return Cell(real, value, None if self.tangent is None else slope() * self.tangent)


def _sum(a: Any, b: Any, left: Cell, right: Cell) -> Any:
    shape = np.broadcast_shapes(left.real.shape, right.real.shape)
    if a is None and b is None:
        return None
    if a is None or b is None:
        one: Any = b if a is None else a
        return one.take(np.broadcast_to(places(one.shape), shape))
    return a + b


def places(shape: tuple[int, ...]) -> Real:
    """Return the flat index of each element."""
    return np.arange(int(np.prod(shape))).reshape(shape)
