"""The total degrees of a program's numbers, from which the bound of a proof follows."""

from typing import Any

import numpy as np

from jaxmore.prove.constants import Constant


class TotalDegrees:
    """An array, by the largest total degree of a numerator and of a denominator in it.

    The total degree counts all numbers that are drawn at a random point, as Schwartz and Zippel's
    bound does. Each exp, erf, logarithm and root counts as a drawn number of its own.

    Attributes:
        above: the largest degree of a numerator.
        below: the largest degree of a denominator.
        power: (c, m) where the number is c + log m, so that its exp is m exp(c), as of Residues.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        above: int,
        below: int,
        power: "tuple[TotalDegrees, TotalDegrees] | None" = None,
    ) -> None:
        self.shape, self.above, self.below, self.power = shape, above, below, power

    @classmethod
    def constant(cls, value: Constant) -> "TotalDegrees":
        """A scalar; √π is a drawn number."""
        return cls((), max(value.half_pi, 0), max(-value.half_pi, 0))

    def take(self, index: np.ndarray[Any, Any]) -> "TotalDegrees":
        """Gather by flat index."""
        power = self.power and (self.power[0].take(index), self.power[1].take(index))
        return TotalDegrees(np.shape(index), self.above, self.below, power)

    @classmethod
    def concatenate(cls, arrays: "list[TotalDegrees]") -> "TotalDegrees":
        """Concatenate flattened arrays."""
        size = sum(int(np.prod(a.shape)) for a in arrays)
        power = None
        if any(a.power for a in arrays):
            pairs = [a._power() for a in arrays]
            power = cls.concatenate([c for c, _ in pairs]), cls.concatenate([m for _, m in pairs])
        return cls((size,), max(a.above for a in arrays), max(a.below for a in arrays), power)

    def _power(self) -> "tuple[TotalDegrees, TotalDegrees]":
        return self.power or (self, TotalDegrees(self.shape, 0, 0))

    def like(self, other: "TotalDegrees") -> "TotalDegrees":
        """Broadcast a scalar."""
        return self.take(np.zeros(other.shape, int))

    def __add__(self, other: "TotalDegrees") -> "TotalDegrees":
        above = max(self.above + other.below, other.above + self.below)
        shape = np.broadcast_shapes(self.shape, other.shape)
        power = None
        if self.power or other.power:
            (c, m), (d, n) = self._power(), other._power()
            power = c + d, m * n
        return TotalDegrees(shape, above, self.below + other.below, power)

    def __sub__(self, other: "TotalDegrees") -> "TotalDegrees":
        return self + -other

    def __mul__(self, other: "TotalDegrees") -> "TotalDegrees":
        shape = np.broadcast_shapes(self.shape, other.shape)
        return TotalDegrees(shape, self.above + other.above, self.below + other.below)

    def __neg__(self) -> "TotalDegrees":
        power = self.power and (-self.power[0], self.power[1].reciprocal())
        return TotalDegrees(self.shape, self.above, self.below, power)

    def reciprocal(self) -> "TotalDegrees":
        """Return 1 / self."""
        return TotalDegrees(self.shape, self.below, self.above)

    def __truediv__(self, other: "TotalDegrees") -> "TotalDegrees":
        return self * other.reciprocal()

    def integer_pow(self, n: int) -> "TotalDegrees":
        """Return the nth power."""
        a, b = (self.above, self.below) if n >= 0 else (self.below, self.above)
        return TotalDegrees(self.shape, a * abs(n), b * abs(n))

    def erf(self) -> "TotalDegrees":
        """A drawn number."""
        return TotalDegrees(self.shape, 1, 0)

    sqrt = erf

    def exp(self) -> "TotalDegrees":
        """A drawn number; e to the c + log m is m eᶜ."""
        return self.power[1] * self.power[0].exp() if self.power else self.erf()

    def log(self) -> "TotalDegrees":
        """A drawn number, whose exp is this one."""
        return TotalDegrees(self.shape, 1, 0, (TotalDegrees(self.shape, 0, 0), self))

    def sin(self) -> "TotalDegrees":
        """(e − 1/e)/2i."""
        return TotalDegrees(self.shape, 2, 1)

    cos = sin
