"""Numbers that know how they depend on the places of an axis: which places, or of what degree."""

import operator
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np

from jaxmore.prove.constants import Constant
from jaxmore.prove.residues import NotProved


class Places:
    """For each element the set of places that it depends on, as bits; several only in a sum."""

    def __init__(self, bits: Any) -> None:
        self.bits = np.asarray(bits, np.uint64)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.bits.shape

    @classmethod
    def constant(cls, value: Constant) -> "Places":
        return cls(0)

    def take(self, index: Any) -> "Places":
        return Places(self.bits.reshape(-1)[index])

    @classmethod
    def concatenate(cls, arrays: "list[Places]") -> "Places":
        return cls(np.concatenate([a.bits.reshape(-1) for a in arrays]))

    def like(self, other: "Places") -> "Places":
        return self.take(np.zeros(other.shape, int))

    def __add__(self, other: "Places") -> "Places":
        return Places(self.bits | other.bits)

    __sub__ = __add__

    def __neg__(self) -> "Places":
        return self

    def __mul__(self, other: "Places") -> "Places":
        both = Places(self.bits | other.bits)
        if (both._joined() & (self.bits != 0) & (other.bits != 0)).any():
            raise NotProved("a product joins two places")
        return both

    def _joined(self) -> Any:
        return self.bits & (self.bits - np.uint64(1)) != 0

    def reciprocal(self) -> "Places":
        if self._joined().any():
            raise NotProved("a function of a sum over places")
        return self

    exp = log = sqrt = erf = sin = cos = reciprocal

    def __truediv__(self, other: "Places") -> "Places":
        return self * other.reciprocal()

    def integer_pow(self, n: int) -> "Places":
        return self if n == 1 else self.reciprocal()


@dataclass(eq=False)
class AxisDegree:
    """How a number grows with an axis: its degree in the places, and apart from it that in n.

    (:class:`~jaxmore.prove.degrees.TotalDegrees` counts all drawn numbers, and knows no axis.)
    """

    places: float
    """The degree of the numerator in the numbers at the places."""
    n: float
    """The degree of the numerator's coefficients in n, the size of the axis."""
    below: "dict[AxisDegree, int]"
    """The factors of the denominator, each with its power."""
    power: "tuple[AxisDegree, AxisDegree] | None" = None
    """(c, m) where the number is c + log m."""

    def missing(self, below: "dict[AxisDegree, int]") -> tuple[float, float]:
        """The degrees of the numerator over a denominator."""
        rest = [(f, power - self.below.get(f, 0)) for f, power in below.items()]
        return (
            self.places + sum(f.places * power for f, power in rest),
            self.n + sum(f.n * power for f, power in rest),
        )

    def __add__(self, other: "AxisDegree") -> "AxisDegree":
        factors = {*self.below, *other.below}
        below = {f: max(self.below.get(f, 0), other.below.get(f, 0)) for f in factors}
        ours, theirs = self.missing(below), other.missing(below)
        power = None
        if self.power or other.power:
            (c, m), (d, k) = self.log_parts, other.log_parts
            power = c + d, m * k
        return AxisDegree(max(ours[0], theirs[0]), max(ours[1], theirs[1]), below, power)

    def __neg__(self) -> "AxisDegree":
        if self.power is None:
            return self
        c, m = self.power
        return AxisDegree(self.places, self.n, self.below, (c, m.inverse))

    def __sub__(self, other: "AxisDegree") -> "AxisDegree":
        return self + -other

    def __mul__(self, other: "AxisDegree") -> "AxisDegree":
        factors = {*self.below, *other.below}
        below = {f: self.below.get(f, 0) + other.below.get(f, 0) for f in factors}
        return AxisDegree(self.places + other.places, self.n + other.n, below)

    @property
    def log_parts(self) -> "tuple[AxisDegree, AxisDegree]":
        return self.power or (self, ONE)

    @cached_property
    def inverse(self) -> "AxisDegree":
        above = AxisDegree(0, 0, {}).missing(self.below)
        return AxisDegree(*above, {AxisDegree(self.places, self.n, {}): 1})

    @cached_property
    def exponential(self) -> "AxisDegree":
        """A number of its own; e to the c + log m is m eᶜ."""
        return self.power[1] * self.power[0].exponential if self.power else AxisDegree(1, 0, {})

    @cached_property
    def logarithm(self) -> "AxisDegree":
        return AxisDegree(1, 0, {}, (AxisDegree(0, 0, {}), self))

    @cached_property
    def root(self) -> "AxisDegree":
        """√(N/D) = √(N D)/D: its square has the degrees of N D."""
        z, n = AxisDegree(0, 0, {}).missing(self.below)
        return AxisDegree((self.places + z) / 2, (self.n + n) / 2, self.below)


ONE = AxisDegree(0, 0, {})


def _each(function: Any) -> Any:
    apply = np.frompyfunc(function, function.__code__.co_argcount, 1)
    return lambda *arrays: AxisDegrees(apply(*(a.values for a in arrays)))


class AxisDegrees:
    """An array of :class:`AxisDegree`."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values, object)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def take(self, index: Any) -> "AxisDegrees":
        return AxisDegrees(self.values.reshape(-1)[index])

    @classmethod
    def concatenate(cls, arrays: "list[AxisDegrees]") -> "AxisDegrees":
        return cls(np.concatenate([a.values.reshape(-1) for a in arrays]))

    def like(self, other: "AxisDegrees") -> "AxisDegrees":
        return self.take(np.zeros(other.shape, int))

    __add__ = _each(lambda a, b: a + b)
    __sub__ = _each(lambda a, b: a - b)
    __mul__ = _each(lambda a, b: a * b)
    __truediv__ = _each(lambda a, b: a * b.inverse)
    __neg__ = _each(lambda a: -a)
    reciprocal = _each(lambda a: a.inverse)
    exp = _each(lambda a: a.exponential)
    log = _each(lambda a: a.logarithm)
    sqrt = _each(lambda a: a.root)

    def integer_pow(self, n: int) -> "AxisDegrees":
        base = self if n > 0 else self.reciprocal()
        return reduce(operator.mul, [base] * abs(n))
