"""What the float constants of a program mean: 0.044715, 1/3, 1/√D, √(2/π), or the bits alone."""

import math
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple


class Constant(NamedTuple):
    """The number rational · √radicand · π^(half_pi/2)."""

    rational: Fraction
    radicand: Fraction = Fraction(1)
    half_pi: int = 0
    is_recognised: bool = True

    def __str__(self) -> str:
        root = "" if self.radicand == 1 else f"√({self.radicand})"
        pi = {0: "", 1: "√π", -1: "/√π", 2: "π", -2: "/π"}[self.half_pi]
        return f"{self.rational}{' ' if root or pi else ''}{root}{pi}"


@lru_cache(maxsize=4096)
def recognise(value: float) -> Constant:
    """Return what a float constant means.

    Decimals of at most eight digits, fractions and square roots of fractions of numbers up to
    4,000, each of them also times a power of √π between π⁻¹ and π, are taken as such; anything
    else as the exact binary number.
    """
    if value == int(value) and abs(value) < 2**53:
        return Constant(Fraction(int(value)))
    exact = Fraction(value)
    decimal = Fraction(repr(value))
    if len(repr(value).lstrip("-0.").partition("e")[0].replace(".", "")) <= 8:
        return Constant(decimal)
    if exact.denominator <= 2**20:
        return Constant(exact)
    for half_pi in (0, 1, -1, 2, -2):
        rest = value / math.pi ** (half_pi / 2)
        near = _simple(rest)
        if near:
            return Constant(near, Fraction(1), half_pi)
        near = _simple(rest * rest)
        if near:
            return Constant(Fraction(int(math.copysign(1, rest))), near, half_pi)
    return Constant(exact, is_recognised=False)


def _simple(value: float) -> Fraction | None:
    near = Fraction(value).limit_denominator(4000)
    close = abs(float(near) - value) <= 4 * math.ulp(value)
    return near if near and abs(near.numerator) <= 4000 and close else None
