"""Real numbers as balls of 400 bits (FLINT's arb). If two balls do not meet, the values differ."""

from collections.abc import Callable
from typing import Any

import flint
import numpy as np

from jaxmore.prove.constants import Constant
from jaxmore.prove.residues import NotProved

BITS = 400


def _each(function: Callable[..., Any]) -> Callable[..., Any]:
    apply = np.frompyfunc(function, function.__code__.co_argcount, 1)

    def on_arrays(*arrays: "Balls") -> "Balls":
        with flint.ctx.workprec(BITS):
            return Balls(np.asarray(apply(*(a.values for a in arrays)), object))

    return on_arrays


class Balls:
    """An array of balls, with the operations of :class:`~jaxmore.prove.residues.Residues`."""

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        self.values = values

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self.values.shape

    @classmethod
    def of(cls, array: Any) -> "Balls":
        """Return floats as exact numbers."""
        return cls(np.asarray(np.frompyfunc(flint.arb, 1, 1)(np.asarray(array, float)), object))

    @classmethod
    def constant(cls, value: Constant) -> "Balls":
        """Return a scalar."""
        with flint.ctx.workprec(BITS):
            top, root = value.rational, value.radicand
            number = flint.arb(top.numerator) / top.denominator
            number *= (flint.arb(root.numerator) / root.denominator).sqrt()
            number *= flint.arb.pi().sqrt() ** value.half_pi
        return cls(np.array(number, object))

    def take(self, index: np.ndarray[Any, Any]) -> "Balls":
        """Gather by flat index; the result has the shape of the index."""
        return Balls(np.asarray(self.values.reshape(-1)[index], object))

    @classmethod
    def concatenate(cls, arrays: "list[Balls]") -> "Balls":
        """Concatenate flattened arrays."""
        return cls(np.concatenate([a.values.reshape(-1) for a in arrays]))

    def like(self, other: "Balls") -> "Balls":
        """Broadcast a scalar to the shape of another array."""
        return self.take(np.zeros(other.shape, int))

    __add__ = _each(lambda a, b: a + b)
    __sub__ = _each(lambda a, b: a - b)
    __mul__ = _each(lambda a, b: a * b)
    __truediv__ = _each(lambda a, b: a / b)
    __neg__ = _each(lambda a: -a)
    reciprocal = _each(lambda a: 1 / a)
    exp = _each(lambda a: a.exp())
    log = _each(lambda a: a.log())
    sin = _each(lambda a: a.sin())
    cos = _each(lambda a: a.cos())
    erf = _each(lambda a: a.erf())
    sqrt = _each(lambda a: a.sqrt())

    def integer_pow(self, n: int) -> "Balls":
        """Return the nth power."""
        return _each(lambda a: a**n)(self)

    def differs(self, other: "Balls") -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Where the two numbers are certainly different."""
        apart = np.frompyfunc(lambda a, b: not a.overlaps(b), 2, 1)
        return np.asarray(apart(self.values, other.values), bool)

    def is_known(self) -> bool:
        """Whether all intervals are finite, and far narrower than the numbers or than 1."""
        narrow = np.frompyfunc(lambda a: a.rad() < (abs(a) + 1) / 2**60, 1, 1)
        return bool(np.all(np.asarray(narrow(self.values), bool)))

    def relative_error(self, floats: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return a bound of |floats/self − 1| for each element, NaN where self may be 0."""

        def bound(exact: Any, value: float) -> float:
            if exact.contains(0):
                return np.nan
            return float(abs((flint.arb(value) - exact) / exact).upper())

        with flint.ctx.workprec(BITS):
            bounds = np.frompyfunc(bound, 2, 1)(self.values, np.asarray(floats, "float64"))
        return np.asarray(bounds, float)

    def largest_error(self, floats: np.ndarray[Any, Any]) -> float:
        """Return a bound of max |floats − self| / max |self|; 0 where all of self may be 0."""
        with flint.ctx.workprec(BITS):
            errors = (Balls.of(floats) - self).values.reshape(-1)
            error = max((float(abs(ball).upper()) for ball in errors), default=0.0)
            largest = max((float(ball.abs_lower()) for ball in self.values.flat), default=0.0)
        return error / largest if largest else 0.0

    def floats(self) -> np.ndarray[Any, Any]:
        """The midpoints."""
        for value in self.values.reshape(-1):
            if not value.is_finite():
                raise NotProved("the interval of a value is not finite")
        return np.asarray(np.frompyfunc(float, 1, 1)(self.values), float)
