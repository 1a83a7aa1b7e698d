"""In every hard kind of rule, at every size, the wrong twin is caught and the right passes."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.testing.case import DTYPES
from jaxmore.testing.rule import examine
from tests.testing.hard_rules import HARD

SIZES = {"2": (2,), "3": (3,), "4x5": (4, 5), "7x4": (7, 4), "2x3x5": (2, 3, 5)}
"""Odd and even, one axis to three."""
each_kind = pytest.mark.parametrize("kind", HARD, ids=lambda kind: kind.__name__)


@each_kind
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.slow
def test_the_wrong_twin_is_caught_and_the_right_passes(kind: Callable[..., Any], size: str):
    rule = kind(np.random.default_rng(len(size)), SIZES[size])
    right = examine(rule.fwd, rule.bwd, *rule.args, dtypes=(), modes=False)
    assert right.passed, right
    wrong = examine(rule.fwd, rule.wrong, *rule.args, dtypes=(), modes=False)
    assert not wrong.passed, wrong


@each_kind
@pytest.mark.quick("near_tie")
def test_the_right_twin_passes_in_every_dtype(kind: Callable[..., Any]):
    rule = kind(np.random.default_rng(1), (4, 5))
    report = examine(rule.fwd, rule.bwd, *rule.args, modes=False)
    assert report.passed, report


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.quick("bfloat16")
def test_a_narrow_dtype_is_judged_element_by_element(dtype: str):
    """A rule that is right in float64, and loses small elements beside a large one elsewhere."""
    weight = np.array([3e3, 1.0, -1.0, 0.5])

    def bwd(_: Any, dy: Any) -> Any:
        dx = dy * jnp.asarray(weight, dy.dtype)
        small = jnp.abs(dx) < 0.01 * jnp.abs(dx).max()
        return (dx if dx.dtype == "float64" else jnp.where(small, 2 * dx, dx),)

    x = np.array([0.3, -0.7, 1.1, 2.0])
    fwd = lambda x: (x * jnp.asarray(weight, x.dtype), None)  # noqa: E731
    report = examine(fwd, bwd, x, dtypes=(dtype,), modes=False)
    assert [problem.check for problem in report.problems] == ["dtypes"]
    assert f"in {dtype} 3 of 4 elements" in str(report)
