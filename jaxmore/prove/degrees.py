"""The degrees of a program's numerators and denominators in the numbers that are drawn."""

from typing import Any

import numpy as np

from jaxmore.prove.constants import Constant


class Degrees:
    """An array, by the largest degree of a numerator and of a denominator in it.

    Each exp, erf, logarithm and root counts as a drawn number of its own.
    """

    def __init__(self, shape: tuple[int, ...], above: int, below: int) -> None:
        self.shape, self.above, self.below = shape, above, below

    @classmethod
    def constant(cls, value: Constant) -> "Degrees":
        """A scalar; √π is a drawn number."""
        return cls((), max(value.half_pi, 0), max(-value.half_pi, 0))

    def take(self, index: np.ndarray[Any, Any]) -> "Degrees":
        """Gather by flat index."""
        return Degrees(np.shape(index), self.above, self.below)

    @classmethod
    def concatenate(cls, arrays: "list[Degrees]") -> "Degrees":
        """Concatenate flattened arrays."""
        size = sum(int(np.prod(a.shape)) for a in arrays)
        return cls((size,), max(a.above for a in arrays), max(a.below for a in arrays))

    def like(self, other: "Degrees") -> "Degrees":
        """Broadcast a scalar."""
        return Degrees(other.shape, self.above, self.below)

    def __add__(self, other: "Degrees") -> "Degrees":
        above = max(self.above + other.below, other.above + self.below)
        shape = np.broadcast_shapes(self.shape, other.shape)
        return Degrees(shape, above, self.below + other.below)

    __sub__ = __add__

    def __mul__(self, other: "Degrees") -> "Degrees":
        shape = np.broadcast_shapes(self.shape, other.shape)
        return Degrees(shape, self.above + other.above, self.below + other.below)

    def __neg__(self) -> "Degrees":
        return self

    def reciprocal(self) -> "Degrees":
        """Return 1 / self."""
        return Degrees(self.shape, self.below, self.above)

    def __truediv__(self, other: "Degrees") -> "Degrees":
        return self * other.reciprocal()

    def integer_pow(self, n: int) -> "Degrees":
        """Return the nth power."""
        a, b = (self.above, self.below) if n >= 0 else (self.below, self.above)
        return Degrees(self.shape, a * abs(n), b * abs(n))

    def exp(self) -> "Degrees":
        """A drawn number."""
        return Degrees(self.shape, 1, 0)

    log = erf = sqrt = exp

    def sin(self) -> "Degrees":
        """(e − 1/e)/2i."""
        return Degrees(self.shape, 2, 1)

    cos = sin
