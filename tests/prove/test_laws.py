"""The laws of the exact numbers, and what the float constants of a program mean."""

import math
from fractions import Fraction

import numpy as np
import pytest

from jaxmore.prove import modular
from jaxmore.prove.balls import Balls
from jaxmore.prove.constants import recognise
from jaxmore.prove.degrees import TotalDegrees
from jaxmore.prove.residues import Residues


@pytest.fixture
def numbers() -> list[Residues]:
    rng = np.random.default_rng(0)
    return [Residues.random(rng, (20,), 4) for _ in range(2)]


def equal(a: Residues, b: Residues) -> bool:
    return bool((a - b).is_zero().all())


def test_products_are_those_of_python():
    rng = np.random.default_rng(1)
    a, b = (modular.random(rng, 8, (50,)) for _ in range(2))
    for q, *rows in zip(modular.PRIMES, a, b, modular.mul(a, b), strict=True):
        assert all(int(x) * int(y) % q == int(z) for x, y, z in zip(*rows, strict=True))


def test_the_primes_are_a_chain():
    import flint

    assert all(flint.fmpz(q).is_prime() for q in modular.PRIMES)
    assert all(q == 2 * r + 1 for q, r in zip(modular.PRIMES, modular.PRIMES[1:], strict=False))


def test_exp_turns_sums_into_products(numbers: list[Residues]):
    x, y = numbers
    assert equal((x + y).exp(), x.exp() * y.exp())
    assert not equal((x * y).exp(), x.exp() * y.exp())
    assert equal((x + y).exp().exp(), (x.exp() * y.exp()).exp())  # nested


def test_exp_undoes_log(numbers: list[Residues]):
    x, y = numbers
    assert equal((x.log() + y).exp(), x * y.exp())
    assert equal((y - x.log()).exp(), y.exp() / x)
    assert equal(x.reciprocal().log(), -x.log())


def test_roots(numbers: list[Residues]):
    x, y = numbers
    root = x.sqrt()
    assert equal(root * root, x)
    assert equal(root.reciprocal() * root.reciprocal() * x, y / y)
    assert equal((x + x).exp().sqrt(), x.exp())
    with pytest.raises(Exception, match="a square root of a square root"):
        (root + y).sqrt()


def test_erf_is_odd_and_sin_and_cos_lie_on_the_circle(numbers: list[Residues]):
    x, y = numbers
    assert equal((-x).erf(), -x.erf())
    assert equal(x.sin() * x.sin() + x.cos() * x.cos(), y / y)
    assert equal((x + y).sin(), x.sin() * y.cos() + x.cos() * y.sin())


@pytest.mark.parametrize(
    ("value", "rational", "radicand", "half_pi"),
    [
        (0.044715, Fraction(8943, 200000), 1, 0),
        (1 / 3, Fraction(1, 3), 1, 0),
        (1 / math.sqrt(5), 1, Fraction(1, 5), 0),
        (-1 / math.sqrt(2 * math.pi), -1, Fraction(1, 2), -1),
        (2 * math.sqrt(2 / math.pi), 1, 8, -1),
    ],
)
def test_constants_are_what_they_mean(value, rational, radicand, half_pi):
    meaning = recognise(value)
    assert meaning == (rational, radicand, half_pi, True)
    assert float(Balls.constant(meaning).floats()) == pytest.approx(value, rel=1e-15)


def test_other_constants_are_their_bits():
    meaning = recognise(1.7 * math.e)
    assert (meaning.rational, meaning.is_recognised) == (Fraction(1.7 * math.e), False)


def test_the_degree_of_an_exponential_of_a_logarithm_is_that_of_the_number():
    x = TotalDegrees((), 5, 2)
    number = (x.log() + TotalDegrees((), 1, 0)).exp()
    assert (number.above, number.below) == (6, 2)
    number = (-x.log()).exp()
    assert (number.above, number.below) == (3, 5)
