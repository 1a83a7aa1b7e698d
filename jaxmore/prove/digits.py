"""Count the digits of a rule that are right in floating point, beside balls of 400 bits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import core

from jaxmore.errors import describe
from jaxmore.prove.balls import Balls
from jaxmore.prove.cells import Cell
from jaxmore.prove.interpreter import Interpreter, has_body, real
from jaxmore.prove.program import Program, Wrong, evaluate
from jaxmore.prove.residues import NotProved
from jaxmore.terminal import table

DTYPES = ("float32", "float64")
WORTH_NAMING = 0.5
"""An operation that loses fewer digits than this is not named: rounding alone loses some."""


class Digits(NamedTuple):
    """How many decimal digits of an array are right, −log₁₀ of the relative error."""

    name: str
    dtype: str
    worst: float | None
    """Of the worst element, at most as many as the dtype has; None where all are left out."""
    at: tuple[int, ...] | None
    """The index of the worst element."""
    median: float | None
    n_left_out: int
    """Elements whose exact value is zero or below the dtype's normal range."""


class Loss(NamedTuple):
    """The operation after which the fewest of its operands' digits are right."""

    dtype: str
    digits: float
    primitive: str
    place: str


@dataclass
class Certificate:
    """The result of :func:`certify_digits`. Prints as a table."""

    name: str
    text: str = ""
    """Why nothing was certified, if so."""
    digits: list[Digits] = field(default_factory=list[Digits])
    losses: list[Loss] = field(default_factory=list[Loss])

    @property
    def passed(self) -> bool:
        """Whether the digits were certified, however many there are."""
        return not self.text

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        lists = {k: [row._asdict() for row in getattr(self, k)] for k in ("digits", "losses")}
        return {"passed": self.passed, "name": self.name, "text": self.text, **lists}

    def __str__(self) -> str:
        if self.text:
            return f"{self.name}: not certified: {self.text}"
        heads = [f"{self.name}: right digits", "worst", "median", "at"]
        rows = [
            [
                f"{d.name}, {d.dtype}",
                _cell(d.worst),
                _cell(d.median),
                str([*d.at]) if d.at else "",
            ]
            for d in self.digits
        ]
        lines = [table([heads, *rows], "<>><")]
        lines += [
            f"  {d.dtype} {d.name}: {d.n_left_out} elements are zero or too small for the dtype"
            for d in self.digits
            if d.n_left_out
        ]
        lines += [
            f"  {loss.dtype}: {loss.primitive} at {loss.place} loses {loss.digits:.1f} digits"
            for loss in self.losses
        ]
        return "\n".join(lines)


def _cell(digits: float | None) -> str:
    return "–" if digits is None else f"{digits:.1f}"


def certify_digits(
    fwd: Callable[..., tuple[Any, Any]],
    bwd: Callable[..., tuple[Any, ...]],
    *args: Any,
    name: str | None = None,
    dtypes: Sequence[str] = DTYPES,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Certificate:
    """Count the right digits of a rule's output and cotangents on one input.

    The compiled program of each dtype is compared with the float64 program, evaluated in ball
    arithmetic (FLINT's arb) on the same input, rounded to the dtype. The error of a ball is far
    below the last digit, so the counts are certain, on the machine that ran. Then the program of
    the dtype runs operation by operation, beside balls of its own, to find the operation that
    loses most digits.

    Args:
        fwd: ``fwd(*args, **options) -> (y, residuals)``.
        bwd: ``bwd(residuals, dy, **options) -> cotangents``, a tuple with one for each argument.
        *args: the input. It should be typical: digits depend on it.
        name: what to call the rule.
        dtypes: "float32", "float64" or both.
        options: keyword options of the rule.
        seed: the seed of dy, which is standard normal.

    Returns:
        The digits of each array, worst and median element, and the loss in each dtype; or the
        reason why the rule cannot be followed.
    """
    result = Certificate(name or getattr(fwd, "__name__", "rule").removesuffix("_fwd"))
    rule = partial(fwd, **(options or {})), partial(bwd, **(options or {}))
    try:
        for dtype in dtypes:
            # Not the stream of the arguments: a dy equal to x cancels in a normalisation.
            rng = np.random.default_rng([seed, 1])
            _certify(result, rule, args, dtype, rng)
    except (Wrong, NotProved) as error:
        result.text = str(error)
    except (Exception, SystemExit) as error:  # whatever a user's rule raises
        result.text = describe(error)
    return result


def _certify(
    result: Certificate, rule: tuple[Any, Any], args: Sequence[Any], dtype: str, rng: Any
) -> None:
    # Without x64 the program is the one that users of float32 run: NumPy's scalars would widen it.
    with jax.enable_x64(dtype == "float64"), np.errstate(all="ignore"):
        program = Program(*rule, None, args, dtype)
        dys = [np.asarray(rng.normal(size=shape), dtype) for shape in program.shapes]
        floats = _run_compiled(program, dys)
        measuring = Measuring(dtype)
        own = evaluate(program, measuring, _exact(program.floats), _exact(dys))
    if _is_random(program.fwd):  # in float64 JAX draws other numbers
        ys, cotangents = own
    else:
        ys, cotangents = _definition(program, rule, dys)
    outputs = ["y"] if len(ys) == 1 else [f"y[{i}]" for i in range(len(ys))]
    names = [*outputs, *(f"d{name}" for name in program.float_names)]
    for name, value, exact in zip(names, floats, [*ys, *cotangents], strict=True):
        result.digits.append(_count(name, dtype, value, exact.number))
    if measuring.worst and measuring.worst.digits > WORTH_NAMING:
        result.losses.append(measuring.worst)


def _definition(program: Program, rule: tuple[Any, Any], dys: Sequence[Any]) -> Any:
    """Evaluate the float64 program in balls, on the input of another dtype's."""
    with jax.enable_x64(True), np.errstate(all="ignore"):
        rounded = iter(program.floats)
        leaves = zip(program.arrays, program.is_float, strict=True)
        same = [next(rounded) if is_float else array for array, is_float in leaves]
        definition = Program(*rule, None, jax.tree.unflatten(program.tree, same))
        return evaluate(
            definition, Interpreter(Balls.constant), _exact(program.floats), _exact(dys)
        )


def _is_random(jaxpr: Any) -> bool:
    """Whether a program draws random numbers."""
    return "random_bits" in str(jaxpr) or "threefry" in str(jaxpr)


def _exact(arrays: Sequence[Any]) -> list[Cell]:
    return [Cell(a, Balls.of(a)) for a in arrays]


def _run_compiled(program: Program, dys: Sequence[Any]) -> list[Any]:
    """Run fwd and bwd, each compiled; return the outputs and the cotangents."""
    fwd, bwd = (jax.jit(core.jaxpr_as_fun(j)) for j in (program.fwd, program.bwd))
    outs = fwd(*program.floats)
    results = bwd(*outs[program.n_outputs :], *dys)
    return [*outs[: program.n_outputs], *(results[i] for i in program.places)]


def _count(name: str, dtype: str, value: Any, exact: Balls) -> Digits:
    errors = _errors(value, exact, dtype)
    counted = ~np.isnan(errors)
    n_left_out = int((~counted).sum())
    if not counted.any():
        return Digits(name, dtype, None, None, None, n_left_out)
    digits = np.where(counted, _digits(errors, dtype), np.inf)
    worst = np.unravel_index(np.argmin(digits), digits.shape)
    median = float(np.median(digits[counted]))
    at = tuple(int(i) for i in worst)
    return Digits(name, dtype, float(digits.min()), at, median, n_left_out)


def _errors(value: Any, exact: Balls, dtype: str) -> Any:
    """Return the relative errors; NaN where the exact value is zero or too small for the dtype."""
    errors = exact.relative_error(np.asarray(value))
    values = np.asarray(np.frompyfunc(float, 1, 1)(exact.values), float)
    small = np.abs(values) < np.finfo(dtype).tiny
    return np.where(small, np.nan, errors)


def _digits(errors: Any, dtype: str) -> Any:
    """Return −log₁₀ of relative errors, at most what rounding to the dtype leaves."""
    return np.abs(np.log10(np.clip(errors, np.finfo(dtype).eps / 2, 1)))


class Measuring(Interpreter):
    """An interpreter whose real run is that of the dtype, one operation after the other.

    Attributes:
        worst: the operation after which the worst element has lost most digits.
    """

    def __init__(self, dtype: str) -> None:
        super().__init__(Balls.constant)
        self._dtype = dtype
        self.worst: Loss | None = None

    def evaluate(self, equation: Any, values: list[Any]) -> list[Any]:
        """Evaluate one equation in balls and in floating point."""
        outs = super().evaluate(equation, values)
        if has_body(equation) or not any(isinstance(out, Cell) for out in outs):
            return outs
        reals = [
            np.asarray(real(value)).astype(variable.aval.dtype)
            for value, variable in zip(values, equation.invars, strict=True)
        ]
        floats = equation.primitive.bind(*reals, **equation.params)
        floats = floats if equation.primitive.multiple_results else [floats]
        outs = [
            replace(out, real=np.asarray(value)) if isinstance(out, Cell) else out
            for out, value in zip(outs, floats, strict=True)
        ]
        lost = self._fewest(values) - self._fewest(outs)
        if self.worst is None or lost > self.worst.digits:
            self.worst = Loss(self._dtype, lost, equation.primitive.name, self.place)
        return outs

    def _fewest(self, values: Sequence[Any]) -> float:
        """Return the digits of the array with the fewest: its largest error by its largest element.

        One element that happens to be near zero says nothing about an operation.
        """
        fewest = float(_digits(np.array(0.0), self._dtype))
        for cell in values:
            if isinstance(cell, Cell):
                error = cell.number.largest_error(cell.real)
                fewest = min(fewest, float(_digits(np.array(error), self._dtype)))
        return fewest
