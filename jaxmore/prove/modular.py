"""Vectorised arithmetic modulo a chain of primes near 2⁶⁰.

The primes form a chain q₀ = 2 q₁ + 1, q₁ = 2 q₂ + 1, … A number is known by its residues modulo
several of them, one a level. exp maps the residue modulo q₁ to one modulo q₀: 4 has order q₁
modulo q₀, so u ↦ 4ᵘ turns sums into products exactly as exp does. All primes are −1 modulo
2·3·5·…·23, so every small integer has a square root, and −1 has none.
"""

from typing import Any

import numpy as np

PRIMES = tuple(6710940282296249 * 2**k + 2**k - 1 for k in range(7, -1, -1))
"""Cunningham's chain of the first kind, of length eight, largest first."""
_Q = np.array(PRIMES, np.uint64)
Ints = np.ndarray[Any, np.dtype[np.uint64]]


def _modulus(a: Ints) -> Ints:
    return _Q[: len(a)].reshape(-1, *[1] * (a.ndim - 1))


def add(a: Ints, b: Ints) -> Ints:
    """Add residues; the first axis is the level."""
    q, total = _modulus(a), a + b
    return np.where(total >= q, total - q, total)


def neg(a: Ints) -> Ints:
    """Negate residues."""
    return np.where(a == 0, a, _modulus(a) - a)


def _times_short(a: Ints, b: Ints, q: Ints) -> Ints:
    # b < 2³²: the quotient is below 2³², so its float64 estimate is off by at most one.
    quotient = (a.astype(np.float64) * b / q).astype(np.uint64)
    rest = (a * b - quotient * q).astype(np.int64)  # wraps, and is in [−q, 2q)
    signed = q.astype(np.int64)
    rest = np.where(rest < 0, rest + signed, rest)
    return np.where(rest >= signed, rest - signed, rest).astype(np.uint64)


def mul(a: Ints, b: Ints) -> Ints:
    """Multiply residues below 2⁶¹ by splitting one factor into two halves."""
    q = _modulus(a)
    half = np.uint64(31)
    high = _times_short(_times_short(a, b >> half, q), np.array(1 << 31, np.uint64), q)
    return add(high, _times_short(a, b & np.uint64(2**31 - 1), q))


def inverse(a: Ints) -> Ints:
    """Invert residues by Fermat's theorem; the inverse of 0 is 0."""
    flat = a.reshape(len(a), -1)
    rows = [
        [pow(int(x), -1, q) if x else 0 for x in row] for row, q in zip(flat, PRIMES, strict=False)
    ]
    return np.array(rows, np.uint64).reshape(a.shape)


def exponential(u: Ints) -> Ints:
    """Map residues to those of exp, each at the level before."""
    flat = u.reshape(len(u), -1)
    rows = [[pow(4, int(x), q) for x in row] for row, q in zip(flat[1:], PRIMES, strict=False)]
    return np.array(rows, np.uint64).reshape(len(u) - 1, *u.shape[1:])


def is_square(a: Ints) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether a residue is a square (0 is)."""
    flat = a.reshape(len(a), -1)
    rows = [
        [pow(int(x), (q - 1) // 2, q) <= 1 for x in row]
        for row, q in zip(flat, PRIMES, strict=False)
    ]
    return np.array(rows, bool).reshape(a.shape)


def root(a: Ints) -> Ints:
    """Map a to a^((q+1)/4), whose square is a or −a. Roots of products are products of roots."""
    flat = a.reshape(len(a), -1)
    rows = [
        [pow(int(x), (q + 1) // 4, q) for x in row] for row, q in zip(flat, PRIMES, strict=False)
    ]
    return np.array(rows, np.uint64).reshape(a.shape)


def random(rng: np.random.Generator, n_levels: int, shape: tuple[int, ...]) -> Ints:
    """Draw residues, independent at each level."""
    return np.stack([rng.integers(1, q, shape, np.uint64) for q in PRIMES[:n_levels]])


def hashed(a: Ints, salt: int) -> Ints:
    """Map each residue to a pseudo-random one: a fresh element for each distinct argument."""
    with np.errstate(over="ignore"):
        z = a + np.uint64(0x9E3779B97F4A7C15) * np.uint64(salt)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
        z ^= z >> np.uint64(31)
    return z % _modulus(a)


def of_integer(n: int, n_levels: int) -> Ints:
    """The residues of an integer."""
    return np.array([n % q for q in PRIMES[:n_levels]], np.uint64)
