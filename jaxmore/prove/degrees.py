"""The degrees of a program's numerators and denominators in the numbers that are drawn."""

from typing import Any

import numpy as np

from jaxmore.prove.constants import Constant


class Degrees:
    """An array, by the largest degree of a numerator and of a denominator in it.

    Each exp, erf, logarithm and root counts as a drawn number of its own.

    Attributes:
        power: (c, m) where the number is c + log m, so that its exp is m exp(c), as of Residues.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        above: int,
        below: int,
        power: "tuple[Degrees, Degrees] | None" = None,
    ) -> None:
        self.shape, self.above, self.below, self.power = shape, above, below, power

    @classmethod
    def constant(cls, value: Constant) -> "Degrees":
        """A scalar; √π is a drawn number."""
        return cls((), max(value.half_pi, 0), max(-value.half_pi, 0))

    def take(self, index: np.ndarray[Any, Any]) -> "Degrees":
        """Gather by flat index."""
        power = self.power and (self.power[0].take(index), self.power[1].take(index))
        return Degrees(np.shape(index), self.above, self.below, power)

    @classmethod
    def concatenate(cls, arrays: "list[Degrees]") -> "Degrees":
        """Concatenate flattened arrays."""
        size = sum(int(np.prod(a.shape)) for a in arrays)
        power = None
        if any(a.power for a in arrays):
            pairs = [a._power() for a in arrays]
            power = cls.concatenate([c for c, _ in pairs]), cls.concatenate([m for _, m in pairs])
        return cls((size,), max(a.above for a in arrays), max(a.below for a in arrays), power)

    def _power(self) -> "tuple[Degrees, Degrees]":
        return self.power or (self, Degrees(self.shape, 0, 0))

    def like(self, other: "Degrees") -> "Degrees":
        """Broadcast a scalar."""
        return self.take(np.zeros(other.shape, int))

    def __add__(self, other: "Degrees") -> "Degrees":
        above = max(self.above + other.below, other.above + self.below)
        shape = np.broadcast_shapes(self.shape, other.shape)
        power = None
        if self.power or other.power:
            (c, m), (d, n) = self._power(), other._power()
            power = c + d, m * n
        return Degrees(shape, above, self.below + other.below, power)

    def __sub__(self, other: "Degrees") -> "Degrees":
        return self + -other

    def __mul__(self, other: "Degrees") -> "Degrees":
        shape = np.broadcast_shapes(self.shape, other.shape)
        return Degrees(shape, self.above + other.above, self.below + other.below)

    def __neg__(self) -> "Degrees":
        power = self.power and (-self.power[0], self.power[1].reciprocal())
        return Degrees(self.shape, self.above, self.below, power)

    def reciprocal(self) -> "Degrees":
        """Return 1 / self."""
        return Degrees(self.shape, self.below, self.above)

    def __truediv__(self, other: "Degrees") -> "Degrees":
        return self * other.reciprocal()

    def integer_pow(self, n: int) -> "Degrees":
        """Return the nth power."""
        a, b = (self.above, self.below) if n >= 0 else (self.below, self.above)
        return Degrees(self.shape, a * abs(n), b * abs(n))

    def erf(self) -> "Degrees":
        """A drawn number."""
        return Degrees(self.shape, 1, 0)

    sqrt = erf

    def exp(self) -> "Degrees":
        """A drawn number; e to the c + log m is m eᶜ."""
        return self.power[1] * self.power[0].exp() if self.power else self.erf()

    def log(self) -> "Degrees":
        """A drawn number, whose exp is this one."""
        return Degrees(self.shape, 1, 0, (Degrees(self.shape, 0, 0), self))

    def sin(self) -> "Degrees":
        """(e − 1/e)/2i."""
        return Degrees(self.shape, 2, 1)

    cos = sin
