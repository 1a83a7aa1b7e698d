"""The elementwise primitives and their derivatives."""

import math
from fractions import Fraction
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxmore.prove.cells import Cell
from jaxmore.prove.interpreter import Interpreter, handles, real
from jaxmore.prove.residues import NotProved, Residues


@handles("add", "add_any")
def _add(run: Interpreter, a: Any, b: Any, **_: Any) -> Cell:
    return run.lift(a) + run.lift(b)


@handles("sub")
def _sub(run: Interpreter, a: Any, b: Any, **_: Any) -> Cell:
    return run.lift(a) - run.lift(b)


@handles("mul")
def _mul(run: Interpreter, a: Any, b: Any, **_: Any) -> Cell:
    return run.lift(a) * run.lift(b)


@handles("div")
def _div(run: Interpreter, a: Any, b: Any, **_: Any) -> Cell:
    return run.lift(a) / run.lift(b)


@handles("neg")
def _neg(run: Interpreter, a: Any, **_: Any) -> Cell:
    return -a


@handles("square")
def _square(run: Interpreter, a: Any, **_: Any) -> Cell:
    return a * a


@handles("integer_pow")
def _integer_pow(run: Interpreter, a: Any, *, y: int, **_: Any) -> Cell:
    def slope() -> Any:
        return a.number.integer_pow(y - 1) * run.symbol(Fraction(y))

    return a.chain(np.asarray(a.real, float) ** y, a.number.integer_pow(y), slope)


@handles("exp")
def _exp(run: Interpreter, a: Any, **_: Any) -> Cell:
    value = a.number.exp()
    return a.chain(np.exp(a.real), value, lambda: value)


@handles("exp2")
def _exp2(run: Interpreter, a: Any, **_: Any) -> Cell:
    log2 = run.symbol(Fraction(2)).log()
    return _exp(run, a * Cell(np.asarray(math.log(2)), log2))


@handles("expm1")
def _expm1(run: Interpreter, a: Any, **_: Any) -> Cell:
    return _exp(run, a) - run.lift(1.0)


@handles("log")
def _log(run: Interpreter, a: Any, **_: Any) -> Cell:
    return a.chain(np.log(a.real), a.number.log(), a.number.reciprocal)


@handles("log1p")
def _log1p(run: Interpreter, a: Any, **_: Any) -> Cell:
    return _log(run, a + run.lift(1.0))


@handles("logistic")
def _logistic(run: Interpreter, a: Any, **_: Any) -> Cell:
    one = run.lift(1.0)
    return one / (one + _exp(run, -a))


@handles("tanh")
def _tanh(run: Interpreter, a: Any, **_: Any) -> Cell:
    two = run.lift(2.0)
    return run.lift(1.0) - two / (_exp(run, a * two) + run.lift(1.0))


@handles("sinh")
def _sinh(run: Interpreter, a: Any, **_: Any) -> Cell:
    return (_exp(run, a) - _exp(run, -a)) * run.lift(0.5)


@handles("cosh")
def _cosh(run: Interpreter, a: Any, **_: Any) -> Cell:
    return (_exp(run, a) + _exp(run, -a)) * run.lift(0.5)


@handles("sin")
def _sin(run: Interpreter, a: Any, **_: Any) -> Cell:
    return a.chain(np.sin(a.real), a.number.sin(), a.number.cos)


@handles("cos")
def _cos(run: Interpreter, a: Any, **_: Any) -> Cell:
    return a.chain(np.cos(a.real), a.number.cos(), lambda: -a.number.sin())


@handles("sqrt")
def _sqrt(run: Interpreter, a: Any, **_: Any) -> Cell:
    value = a.number.sqrt()
    return a.chain(np.sqrt(a.real), value, lambda: value.reciprocal() * run.symbol(Fraction(1, 2)))


@handles("rsqrt")
def _rsqrt(run: Interpreter, a: Any, **_: Any) -> Cell:
    return run.lift(1.0) / _sqrt(run, a)


@handles("pow")
def _pow(run: Interpreter, a: Any, b: Any, **_: Any) -> Cell:
    if isinstance(b, Cell):
        return _exp(run, b * _log(run, run.lift(a)))
    exponents = np.unique(np.asarray(b, float))
    if len(exponents) == 1 and float(2 * exponents[0]).is_integer():
        twice = int(2 * exponents[0])
        return _integer_pow(run, a if twice % 2 == 0 else _sqrt(run, a), y=twice // (2 - twice % 2))
    raise NotProved("the exponent is not a multiple of 1/2")


@handles("erf")
def _erf(run: Interpreter, a: Any, **_: Any) -> Cell:
    def slope() -> Any:  # 2/√π exp(−x²)
        return (-(a.number * a.number)).exp() * run.symbol(Fraction(2), -1)

    return a.chain(np.vectorize(math.erf, otypes=[float])(a.real), a.number.erf(), slope)


@handles("erfc")
def _erfc(run: Interpreter, a: Any, **_: Any) -> Cell:
    return run.lift(1.0) - _erf(run, a)


@handles("abs")
def _abs(run: Interpreter, a: Any, **_: Any) -> Cell:
    _note_ties(run, a, 0)
    return run.choose(a.real < 0, [a, -a])


@handles("max")
def _max(run: Interpreter, a: Any, b: Any, **_: Any) -> Any:
    shape = np.broadcast_shapes(real(a).shape, real(b).shape)
    _note_ties(run, a, b)
    return run.choose(np.broadcast_to(real(b) > real(a), shape), [a, b])


@handles("min")
def _min(run: Interpreter, a: Any, b: Any, **_: Any) -> Any:
    shape = np.broadcast_shapes(real(a).shape, real(b).shape)
    _note_ties(run, a, b)
    return run.choose(np.broadcast_to(real(b) < real(a), shape), [a, b])


@handles("clamp")
def _clamp(run: Interpreter, low: Any, x: Any, high: Any, **_: Any) -> Any:
    _note_ties(run, x, low)
    _note_ties(run, x, high)
    which = np.where(real(x) < real(low), 0, np.where(real(x) > real(high), 2, 1))
    return run.choose(which, [low, x, high])


@handles("select_n")
def _select_n(run: Interpreter, which: Any, *cases: Any, **_: Any) -> Any:
    return run.choose(real(which), cases)


COMPARISONS = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal,
    "gt": np.greater, "ge": np.greater_equal,
}  # fmt: skip


def _note_ties(run: Interpreter, a: Any, b: Any) -> None:
    """Note where two numbers are equal at these arguments alone."""
    tied = real(a) == real(b)
    if np.any(tied):
        difference = (run.lift(a) - run.lift(b)).number
        if isinstance(difference, Residues) and np.any(tied & ~difference.is_zero()):
            run.tied.add(run.place)


def _note_outcomes(run: Interpreter, outcomes: Any) -> None:
    _, before = run.compared.get(run.path, ("", set[bool]()))
    run.compared[run.path] = run.place, before | set(np.unique(outcomes).tolist())


def _compare(name: str) -> Any:
    def handler(run: Interpreter, a: Any, b: Any, **_: Any) -> Any:
        if np.isnan(real(a)).any() or np.isnan(real(b)).any():
            raise NotProved("the comparison meets NaN")
        _note_ties(run, a, b)
        outcomes = COMPARISONS[name](real(a), real(b))
        _note_outcomes(run, outcomes)
        return outcomes

    return handler


for _name in COMPARISONS:
    handles(_name)(_compare(_name))


@handles("ceil", "round")
def _steps(run: Interpreter, a: Any, **_: Any) -> Any:
    raise NotProved("the prover does not follow step functions")


@handles("sign")
def _sign(run: Interpreter, a: Any, **_: Any) -> Any:
    _note_ties(run, a, 0)
    _note_outcomes(run, a.real > 0)
    return np.sign(a.real)


@handles("floor")
def _floor(run: Interpreter, a: Any, **_: Any) -> Any:
    run.stepped.add(run.place)
    return np.floor(a.real)


@handles("is_finite")
def _is_finite(run: Interpreter, a: Any, **_: Any) -> Any:
    return np.isfinite(a.real)


@handles("stop_gradient", "optimization_barrier", "copy", "copy_p")
def _identity(run: Interpreter, *values: Any, **_: Any) -> list[Any]:
    """Return the values. stop_gradient is no exception: it does not change the function."""
    return list(values)


@handles("convert_element_type")
def _convert(run: Interpreter, a: Any, *, new_dtype: Any, **_: Any) -> Any:
    """Between floats no value changes: rounding is not part of the proof."""
    if jnp.issubdtype(new_dtype, jnp.floating):
        return a
    run.stepped.add(run.place)
    return np.asarray(a.real).astype(new_dtype)
