"""One rule with its arguments, compiled once for all checks."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from jaxmore.errors import InputError
from jaxmore.testing import oracles
from jaxmore.testing.diagnosis import Evidence, cause_of
from jaxmore.testing.leaves import FloatFunction, Leaves, StructureError, is_float
from jaxmore.testing.misuse import explained
from jaxmore.testing.oracles.compiled import jit_quickly
from jaxmore.testing.oracles.condition import condition_scales
from jaxmore.testing.report import Problem, Report

NARROW = 16
"""The tolerance, in units of a dtype's eps, where results may differ only by rounding."""
DTYPES = ("float32", "bfloat16", "float16")
CHECKS = ("primal", "autodiff", "differences", "linearity", "modes", "dtypes", "residuals")
"""The checks that can be left out."""


def check_dtypes(dtypes: Sequence[str]) -> None:
    """Raise InputError for a dtype that is not one of :data:`DTYPES`."""
    for dtype in dtypes:
        if dtype not in DTYPES:
            raise InputError(f"no dtype {dtype!r} to check in; there are {', '.join(DTYPES)}")


class Rule(NamedTuple):
    """A rule with its options bound."""

    fwd: Callable[..., tuple[Any, Any]]
    bwd: Callable[..., tuple[Any, ...]]
    plain: Callable[..., Any]
    bitwise: bool = True
    """Whether ``fwd`` must reproduce the bits of ``plain``, or may differ by rounding."""
    skip: frozenset[str] = frozenset()
    """The checks to leave out."""


class CheckFailed(Exception):
    """A check failed, and the checks that follow would only repeat its finding."""


class Case:
    """A rule, its arguments, and everything that more than one check uses.

    Attributes:
        rule: the rule.
        leaves: its flattened arguments.
        report: where the checks write their findings.
        random: the source of cotangents and directions.
        plain: the plain forward's float outputs, as a function of the float leaves.
        whole: all outputs of the plain forward, as a function of the float leaves.
        rule_fwd: ``rule.fwd``, as a function of the float leaves.
        fwd: both, compiled together: ``(plain's y, y, residuals)``.
        n_traces: how often ``bwd`` has been traced.
        sways: how much each cotangent moves with the inputs, once a narrow dtype asked for it.
    """

    y: Any
    """The forward's value."""
    dys: list[Any]
    """Two random cotangents of it."""
    eager: tuple[Any, ...]
    """The cotangents for ``dys[0]``, computed eagerly."""
    residuals: Any
    """The residuals under jit."""
    jitted: list[tuple[Any, ...]]
    """The cotangents for each of ``dys``, under jit."""
    scales: list[list[np.ndarray]]
    """For each of ``dys``, the condition scale of each element of each float leaf's cotangent."""
    wobbles: list[np.ndarray]
    """How far each of these elements moves when the inputs change in their last bit."""

    def __init__(
        self, rule: Rule, leaves: Leaves, report: Report, random: np.random.Generator
    ) -> None:
        if not leaves.floats:
            raise ValueError(f"{report.name}: no argument is a float array: there is no gradient")
        self.rule, self.leaves, self.report, self.random = rule, leaves, report, random
        self.plain = leaves.on_floats(rule.plain, float_outputs=True)
        self.rule_fwd, self.whole = map(leaves.on_floats, (rule.fwd, rule.plain))
        self.fwd = jax.jit(lambda *floats: (self.whole(*floats), *self.rule_fwd(*floats)))
        self._bwd = jax.jit(self._counted_bwd)
        self.n_traces = 0
        self.without_scales, self.without_autodiff = False, ""
        self.sways: list[np.ndarray] | None = None

    def _counted_bwd(self, residuals: Any, dy: Any) -> Any:
        self.n_traces += 1
        return self.rule.bwd(residuals, self.whole_dy(dy))

    def whole_dy(self, dy: Sequence[Any]) -> Any:
        """Return the cotangent of the whole value: float0 beside those of its floats."""
        given = iter(dy)
        return jax.tree.map(
            lambda y: next(given) if is_float(y) else np.zeros(np.shape(y), jax.dtypes.float0),
            self.y,
        )

    @staticmethod
    def floats_of(y: Any) -> list[Any]:
        """Return the float arrays among the leaves of the forward's value."""
        return [leaf for leaf in jax.tree.leaves(y) if is_float(leaf)]

    def draw_cotangent(self) -> list[Any]:
        """Draw random cotangents of the forward's float outputs, no element of them near zero."""

        def draw(y: Any) -> Any:
            values = self.random.normal(size=y.shape)
            return jnp.asarray(np.copysign(np.abs(values) + 0.1, values), y.dtype)

        return [draw(y) for y in self.floats_of(self.y)]

    def pull_back(self, floats: Sequence[Any], dy: Any) -> tuple[Any, ...]:
        """Run the rule forward and backward. Can be run eagerly or transformed."""
        residuals = self.rule_fwd(*floats)[1]
        return self.leaves.cotangents(self.rule.bwd(residuals, self.whole_dy(dy)), floats)

    def run_bwd(self, residuals: Any, dy: Any) -> tuple[Any, ...]:
        """Run the compiled backward function."""
        return self.leaves.cotangents(self._bwd(residuals, dy), self.leaves.floats)

    def truth(self, floats: Sequence[Any], dy: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return autodiff's cotangents and their condition scales, element by element.

        Where autodiff cannot reverse the forward, the cotangents are NaN; where the scales cannot
        be followed (complex intermediates), they are.
        """
        if not self.without_scales:
            try:
                oracle, scales = map(all_numpy, _autodiff(self.plain, floats, dy))
                with np.errstate(all="ignore"):
                    pairs = zip(oracle, scales, strict=True)
                    return oracle, [np.fmax(s, np.abs(o)) for o, s in pairs]
            except Exception:  # an equation that the scales cannot follow
                self.without_scales = True
        oracle = self.gradient(floats, dy)
        return oracle, [np.full(o.shape, np.nan) for o in oracle]

    def gradient(self, floats: Sequence[Any], dy: Any) -> list[np.ndarray]:
        """Return autodiff's cotangents; NaN where it cannot reverse the forward."""
        if not self.without_autodiff:
            try:
                return all_numpy(_gradient(self.plain, floats, dy))
            except Exception as error:  # a while loop, a callback
                self.without_autodiff = str(error).split("\n", 1)[0].split(". ", 1)[0]
                self.report.notes.append(
                    f"autodiff cannot reverse the forward ({self.without_autodiff}): judged by "
                    "differences alone"
                )
        return [np.full(x.shape, np.nan) for x in floats]

    def wrong_shape(self, evidence: Evidence) -> None:
        """Report a cotangent of the wrong shape."""
        name, given, right = evidence.argument, evidence.ours.shape, evidence.oracle.shape
        text = f"{name}: the cotangent has shape {given}, not {right}"
        problem = Problem("structure", text, name, cause=cause_of(evidence))
        self.report.problems.append(problem)

    def attempt(self, check: str, mode: str, run: Callable[..., Any], *args: Any) -> Any:
        """Return ``run(*args)``; report a problem if it raises."""
        try:
            return run(*args)
        except StructureError as error:
            self.fail("structure", str(error), error.argument)
        except Exception as error:  # whatever a user's rule raises
            self.fail(check, f"bwd fails {mode}: {explained(error)}")

    def add(self, check: str, message: str, argument: str | None = None) -> None:
        """Report a problem and go on."""
        self.report.problems.append(Problem(check, message, argument))

    def fail(self, check: str, message: str, argument: str | None = None) -> NoReturn:
        """Report a problem and stop."""
        self.add(check, message, argument)
        raise CheckFailed

    def stop_if_wrong(self) -> None:
        """Stop if any problem has been reported."""
        if self.report.problems:
            raise CheckFailed


@partial(jit_quickly, static_argnums=0)
def _gradient(plain: FloatFunction, floats: Sequence[Any], dy: Any) -> Any:
    return oracles.cotangents(plain, floats, dy)


@partial(jit_quickly, static_argnums=0)
def _autodiff(plain: FloatFunction, floats: Sequence[Any], dy: Any) -> tuple[Any, Any]:
    return oracles.cotangents(plain, floats, dy), condition_scales(plain, floats, dy)


def to_numpy(array: Any) -> np.ndarray:
    """Convert an array to NumPy: floats as float64, integers as they are."""
    return np.asarray(array, "float64") if is_float(array) else np.asarray(array)


def all_numpy(arrays: Sequence[Any]) -> list[np.ndarray]:
    """Convert each array to NumPy."""
    return [to_numpy(array) for array in arrays]
