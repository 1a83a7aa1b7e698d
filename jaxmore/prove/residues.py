"""Exact numbers: arrays of residues, with exp, roots, logarithms and erf adjoined by their laws."""

from fractions import Fraction
from typing import Any

import numpy as np

from jaxmore.prove import modular
from jaxmore.prove.constants import Constant

SALTS = {"√π": 1, "erf": 2, "log": 3}


class NotProved(Exception):
    """The exact arithmetic cannot follow the program here."""


class Redraw(Exception):
    """This random point does not serve: a divisor is zero in the field."""


class Residues:
    """An array of numbers in the field with q elements, or q² where square roots need it.

    Attributes:
        parts: uint64 of shape (levels, 1 or 2, *shape): x, or x and y of x + y √−1.
        power: (c, m) where the number is known to be c + log m, so that its exp is m exp(c).
    """

    def __init__(
        self, parts: modular.Ints, power: "tuple[Residues, Residues] | None" = None
    ) -> None:
        self.parts, self.power = parts, power

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self.parts.shape[2:]

    @classmethod
    def random(cls, rng: np.random.Generator, shape: tuple[int, ...], levels: int) -> "Residues":
        """Draw a generic point."""
        return cls(modular.random(rng, levels, shape)[:, None])

    @classmethod
    def constant(cls, value: Constant, levels: int) -> "Residues":
        """Return a scalar."""
        number = _rational(value.rational, levels)
        if value.radicand != 1:
            number = number * _rational(value.radicand, levels).sqrt()
        if value.half_pi:
            root_pi = cls(modular.hashed(modular.of_integer(1, levels), SALTS["√π"])[:, None])
            number = number * root_pi.integer_pow(value.half_pi)
        return number

    # Structure ------------------------------------------------------------------------------------

    def take(self, index: np.ndarray[Any, Any]) -> "Residues":
        """Gather by flat index; the result has the shape of the index."""
        levels, width = self.parts.shape[:2]
        flat = self.parts.reshape(levels, width, -1)[:, :, index]
        power = self.power and (self.power[0].take(index), self.power[1].take(index))
        return Residues(flat, power)

    @classmethod
    def concatenate(cls, arrays: "list[Residues]") -> "Residues":
        """Concatenate flattened arrays."""
        levels = min(len(a.parts) for a in arrays)
        width = max(a.parts.shape[1] for a in arrays)
        flat = [a._fit(levels, width).reshape(levels, width, -1) for a in arrays]
        power = None
        if any(a.power for a in arrays):
            pairs = [a._power() for a in arrays]
            power = cls.concatenate([c for c, _ in pairs]), cls.concatenate([m for _, m in pairs])
        return cls(np.concatenate(flat, -1), power)

    def _fit(self, levels: int, width: int) -> modular.Ints:
        parts = self.parts[:levels]
        if parts.shape[1] < width:
            parts = np.concatenate([parts, np.zeros_like(parts)], 1)
        return parts

    def _both(self, other: "Residues") -> tuple[modular.Ints, modular.Ints]:
        levels = min(len(self.parts), len(other.parts))
        width = max(self.parts.shape[1], other.parts.shape[1])
        a, b = self._fit(levels, width), other._fit(levels, width)
        rank = max(a.ndim, b.ndim)
        a = a.reshape(*a.shape[:2], *[1] * (rank - a.ndim), *a.shape[2:])
        return a, b.reshape(*b.shape[:2], *[1] * (rank - b.ndim), *b.shape[2:])

    def _power(self) -> "tuple[Residues, Residues]":
        return self.power or (self, _rational(Fraction(1), len(self.parts)).like(self))

    def like(self, other: "Residues") -> "Residues":
        """Broadcast a scalar to the shape of another array."""
        return self.take(np.zeros(other.shape, int))

    def is_zero(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Where the number is zero, at the first level."""
        return (self.parts[0] == 0).all(0)

    # Arithmetic -----------------------------------------------------------------------------------

    def __add__(self, other: "Residues") -> "Residues":
        power = None
        if self.power or other.power:
            (c, m), (d, n) = self._power(), other._power()
            power = c + d, m * n
        return Residues(modular.add(*self._both(other)), power)

    def __neg__(self) -> "Residues":
        power = self.power and (-self.power[0], self.power[1].reciprocal())
        return Residues(modular.neg(self.parts), power)

    def __sub__(self, other: "Residues") -> "Residues":
        return self + -other

    def __mul__(self, other: "Residues") -> "Residues":
        a, b = self._both(other)
        if a.shape[1] == 1:
            return Residues(modular.mul(a, b))
        (a0, a1), (b0, b1) = (np.moveaxis(p, 1, 0) for p in (a, b))
        real = modular.add(modular.mul(a0, b0), modular.neg(modular.mul(a1, b1)))
        imaginary = modular.add(modular.mul(a0, b1), modular.mul(a1, b0))
        return Residues(np.stack([real, imaginary], 1))

    def reciprocal(self) -> "Residues":
        """Return 1 / self."""
        if self.is_zero().any():
            raise Redraw
        if self.parts.shape[1] == 1:
            return Residues(modular.inverse(self.parts))
        a, b = np.moveaxis(self.parts, 1, 0)
        norm = modular.inverse(modular.add(modular.mul(a, a), modular.mul(b, b)))
        b = modular.neg(modular.mul(b, norm))
        return Residues(np.stack([modular.mul(a, norm), b], 1))

    def __truediv__(self, other: "Residues") -> "Residues":
        return self * other.reciprocal()

    def integer_pow(self, n: int) -> "Residues":
        """Return the nth power."""
        if n < 0:
            return self.reciprocal().integer_pow(-n)
        result = _rational(Fraction(1), len(self.parts)).like(self)
        for bit in bin(n)[2:]:
            result = result * result
            result = result * self if bit == "1" else result
        return result

    # Functions, by their laws ---------------------------------------------------------------------

    def exp(self) -> "Residues":
        """Return eˣ, which turns sums into products; e to the c + log m is m eᶜ."""
        if self.power:
            c, m = self.power
            return m * c.exp()
        if len(self.parts) < 2:
            raise NotProved("exponentials are nested too deeply")
        u = self.parts[:, 0]
        if self.parts.shape[1] == 2:  # a linear function of both parts is as good as the number
            factor = modular.hashed(modular.of_integer(7, len(u)), 9)
            factor = factor.reshape(-1, *[1] * (u.ndim - 1))
            u = modular.add(u, modular.mul(self.parts[:, 1], np.broadcast_to(factor, u.shape)))
        return Residues(modular.exponential(u)[:, None])

    def _turn(self) -> "Residues":
        """exp(i self): another homomorphism from sums to products."""
        factor = Residues(modular.hashed(modular.of_integer(3, len(self.parts)), 4)[:, None])
        return (Residues(self.parts) * factor).exp()

    def cos(self) -> "Residues":
        """cos x = (e^(ix) + e^(−ix)) / 2."""
        turn = self._turn()
        return (turn + turn.reciprocal()) * _rational(Fraction(1, 2), len(turn.parts))

    def sin(self) -> "Residues":
        """sin x = (e^(ix) − e^(−ix)) / 2i."""
        turn = self._turn()
        half = _rational(Fraction(-1, 2), len(turn.parts)).parts
        minus_half_i = Residues(np.concatenate([np.zeros_like(half), half], 1))
        return (turn - turn.reciprocal()) * minus_half_i

    def log(self) -> "Residues":
        """Return the logarithm: its exp is x, and that of 1/x is its negative."""
        other = self.reciprocal()
        flip = other.parts[0, 0] < self.parts[0, 0]
        value = self._adjoined("log", np.where(flip, other.parts, self.parts))
        zero = _rational(Fraction(0), len(self.parts)).like(self)
        return Residues(np.where(flip, modular.neg(value), value), (zero, self))

    def erf(self) -> "Residues":
        """Return the error function, which is odd."""
        flip = modular.neg(self.parts)[0, 0] < self.parts[0, 0]
        value = self._adjoined("erf", np.where(flip, modular.neg(self.parts), self.parts))
        return Residues(np.where(flip, modular.neg(value), value))

    def _adjoined(self, name: str, parts: modular.Ints) -> modular.Ints:
        seed = parts[:, 0]
        if parts.shape[1] == 2:
            seed = modular.add(seed, modular.hashed(parts[:, 1], 5))
        return modular.hashed(seed, SALTS[name])[:, None]

    def sqrt(self) -> "Residues":
        """√x √x = x, and √(x y) = √x √y up to sign."""
        if self.parts.shape[1] == 2 and not (self.parts[:, 1] == 0).all():
            raise NotProved("the prover does not follow a square root of a square root")
        x = self.parts[:, 0]
        square, value = modular.is_square(x), modular.root(x)
        if square.all():
            return Residues(value[:, None])
        zero = np.zeros_like(value)
        parts = [np.where(square, value, zero), np.where(square, zero, value)]
        return Residues(np.stack(parts, 1))


def _rational(value: Fraction, levels: int) -> Residues:
    top = modular.of_integer(value.numerator, levels)
    below = modular.inverse(modular.of_integer(value.denominator, levels))
    return Residues(modular.mul(top, below)[:, None])
