"""The order of the Taylor remainder tells right gradients from wrong ones, and kinks from both."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.testing import rule
from jaxmore.testing.report import Report
from jaxmore.testing.rule import examine

X = np.random.default_rng(0).normal(size=(3, 4))


def report_on(forward: Any, backward: Any, x: Any) -> Report:
    return examine(
        lambda x: (forward(x), x), lambda x, dy: (backward(x) * dy,), x, dtypes=(), modes=False
    )


@pytest.fixture
def taylor_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the other oracles, which find the mistake first."""

    def without_oracles(case: Any) -> None:
        case.scales = [case.jitted[0], case.jitted[1]]

    monkeypatch.setattr(rule, "check_values", without_oracles)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
@pytest.mark.quick("1.0")
def test_a_right_gradient_has_order_two(scale: float):
    report = report_on(lambda x: scale * jnp.tanh(x), lambda x: scale / jnp.cosh(x) ** 2, X)
    assert report.taylor == pytest.approx(2, abs=0.05)
    assert "Taylor order 2.0" in str(report)


@pytest.mark.parametrize("factor", [2.0, 1.01, 1.0001])
@pytest.mark.quick("1.01")
def test_a_wrong_gradient_has_order_one(factor: float, taylor_alone: None):
    report = report_on(jnp.tanh, lambda x: factor / jnp.cosh(x) ** 2, X)
    assert [problem.check for problem in report.problems] == ["taylor"]
    assert report.taylor == pytest.approx(1, abs=0.1)


@pytest.mark.slow
def test_a_linear_forward_has_no_order():
    assert report_on(lambda x: 3 * x, lambda x: 3, X).taylor is None


@pytest.mark.slow
def test_a_kink_has_no_order():
    """The subgradient 0 of |x| sin(x + 1) at 0 misses the same slope along v and −v."""
    report = report_on(
        lambda x: jnp.abs(x) * jnp.sin(x + 1),
        lambda x: jnp.sign(x) * jnp.sin(x + 1) + jnp.abs(x) * jnp.cos(x + 1),
        np.array([0.0, 1.0, -1.0]),
    )
    assert report.passed
    assert report.taylor is None


@pytest.mark.slow
def test_a_loop_that_autodiff_cannot_reverse():
    def root(a: Any) -> Any:
        step = lambda s: (s[0] + 1, (s[1] + a / s[1]) / 2)  # noqa: E731
        return jax.lax.while_loop(lambda s: s[0] < 40, step, (0, a))[1]

    report = report_on(root, lambda a: 0.5 / jnp.sqrt(a), np.array([0.5, 2.0, 3.0]))
    assert report.passed
    assert report.taylor == pytest.approx(2, abs=0.05)
