"""One rule with its arguments, compiled once for all checks."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from jaxmore.testing import oracles
from jaxmore.testing.condition import condition_scales
from jaxmore.testing.leaves import FloatFunction, Leaves, StructureError, is_float
from jaxmore.testing.report import Problem, Report

NARROW = 16
"""The tolerance, in units of a dtype's eps, where results may differ only by rounding."""
DTYPES = ("float32", "bfloat16", "float16")


class Rule(NamedTuple):
    """A rule with its options bound."""

    fwd: Callable[..., tuple[Any, Any]]
    bwd: Callable[..., tuple[Any, ...]]
    plain: Callable[..., Any]
    bitwise: bool = True
    """Whether ``fwd`` must reproduce the bits of ``plain``, or may differ by rounding."""


class CheckFailed(Exception):
    """A check failed, and the checks that follow would only repeat its finding."""


class Case:
    """A rule, its arguments, and everything that more than one check uses.

    Attributes:
        rule: the rule.
        leaves: its flattened arguments.
        report: where the checks write their findings.
        random: the source of cotangents and directions.
        plain: the plain forward, as a function of the float leaves.
        rule_fwd: ``rule.fwd``, as a function of the float leaves.
        fwd: both, compiled together: ``(plain's y, y, residuals)``.
        n_traces: how often ``bwd`` has been traced.
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
    scales: list[list[float]]
    """For each of ``dys``, the condition scale of each float leaf's cotangent."""
    wobbles: list[float]
    """How far each cotangent moves when the inputs change in their last bit."""

    def __init__(
        self, rule: Rule, leaves: Leaves, report: Report, random: np.random.Generator
    ) -> None:
        if not leaves.floats:
            raise ValueError(f"{report.name}: no argument is a float array: there is no gradient")
        self.rule, self.leaves, self.report, self.random = rule, leaves, report, random
        self.plain, self.rule_fwd = map(leaves.on_floats, (rule.plain, rule.fwd))
        self.fwd = jax.jit(lambda *floats: (self.plain(*floats), *self.rule_fwd(*floats)))
        self._bwd = jax.jit(self._counted_bwd)
        self.n_traces = 0

    def _counted_bwd(self, residuals: Any, dy: Any) -> Any:
        self.n_traces += 1
        return self.rule.bwd(residuals, dy)

    def draw_cotangent(self) -> Any:
        """Draw a random cotangent of the forward's value, no element of it near zero."""

        def draw(y: Any) -> Any:
            values = self.random.normal(size=y.shape)
            return jnp.asarray(np.copysign(np.abs(values) + 0.1, values), y.dtype)

        return jax.tree.map(draw, self.y)

    def pull_back(self, floats: Sequence[Any], dy: Any) -> tuple[Any, ...]:
        """Run the rule forward and backward. Can be run eagerly or transformed."""
        residuals = self.rule_fwd(*floats)[1]
        return self.leaves.cotangents(self.rule.bwd(residuals, dy), floats)

    def run_bwd(self, residuals: Any, dy: Any) -> tuple[Any, ...]:
        """Run the compiled backward function."""
        return self.leaves.cotangents(self._bwd(residuals, dy), self.leaves.floats)

    def truth(self, floats: Sequence[Any], dy: Any) -> tuple[list[np.ndarray], list[float]]:
        """Return autodiff's cotangents, and for each of them one condition scale."""
        oracle, scales = map(all_numpy, _autodiff(self.plain, floats, dy))
        sizes = [
            float(max(s.max(initial=0), np.abs(o).max(initial=0)))
            for s, o in zip(scales, oracle, strict=True)
        ]
        return oracle, sizes

    def attempt(self, check: str, mode: str, run: Callable[..., Any], *args: Any) -> Any:
        """Return ``run(*args)``; report a problem if it raises."""
        try:
            return run(*args)
        except StructureError as error:
            self.fail("structure", str(error), error.argument)
        except Exception as error:  # whatever a user's rule raises
            text = str(error).split("\n", 1)[0]
            self.fail(check, f"bwd fails {mode}: {type(error).__name__}: {text}")

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


@partial(jax.jit, static_argnums=0)
def _autodiff(plain: FloatFunction, floats: Sequence[Any], dy: Any) -> tuple[Any, Any]:
    return oracles.cotangents(plain, floats, dy), condition_scales(plain, floats, dy)


def to_numpy(array: Any) -> np.ndarray:
    """Convert an array to NumPy: floats as float64, integers as they are."""
    return np.asarray(array, "float64") if is_float(array) else np.asarray(array)


def all_numpy(arrays: Sequence[Any]) -> list[np.ndarray]:
    """Convert each array to NumPy."""
    return [to_numpy(array) for array in arrays]
