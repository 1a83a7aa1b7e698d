"""A pytest plugin: ``pytest_plugins = ["jaxmore.testing.pytest_plugin"]`` in conftest.py.

A test of a rule is then one line, and ``pytest -v`` ends with the tables of all rules checked::

    def test_my_rule(check_rule):
        check_rule(my_fwd, my_bwd, jnp.linspace(-2.0, 2.0, 7))
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest

from jaxmore.testing import model, rule
from jaxmore.testing.report import Report

_REPORTS = pytest.StashKey[list[Report]]()


def _recorded(config: pytest.Config, check: Callable[..., Report]) -> Callable[..., Report]:
    @wraps(check)
    def checked(*args: Any, **options: Any) -> Report:
        report = check(*args, **options)
        config.stash.setdefault(_REPORTS, []).append(report)
        return report

    return checked


@pytest.fixture
def check_rule(request: pytest.FixtureRequest) -> Callable[..., Report]:
    """:func:`jaxmore.testing.check_rule`, with its report shown by ``pytest -v``."""
    return _recorded(request.config, rule.check_rule)


@pytest.fixture
def check_layer(request: pytest.FixtureRequest) -> Callable[..., Report]:
    """:func:`jaxmore.testing.check_layer`, with its report shown by ``pytest -v``."""
    return _recorded(request.config, model.check_layer)


@pytest.fixture
def check_model(request: pytest.FixtureRequest) -> Callable[..., Report]:
    """:func:`jaxmore.testing.check_model`, with its report shown by ``pytest -v``."""
    return _recorded(request.config, model.check_model)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the tables of all rules that were checked."""
    reports = config.stash.get(_REPORTS, [])
    if reports and config.get_verbosity() > 0:
        terminalreporter.section("hand-derived gradients checked")
        for report in reports:
            terminalreporter.write_line(f"{report}\n")
