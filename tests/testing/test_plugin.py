"""The pytest plugin and the hypothesis strategies work in a user's project."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import find, given, settings

from jaxmore import rules
from jaxmore.testing import check_rule, parse_args
from jaxmore.testing.strategies import rule_arguments

TESTS = """
import jax.numpy as jnp

def square_fwd(x):
    return x * x, x

def test_right(check_rule):
    check_rule(square_fwd, lambda x, dy: (2 * x * dy,), jnp.array([0.5, 2.0]), dtypes=())

def test_wrong(check_rule):
    check_rule(square_fwd, lambda x, dy: (x * dy,), jnp.array([0.5, 2.0]), dtypes=())
"""


@pytest.mark.slow
def test_the_plugin_gives_the_fixture_and_prints_the_tables(tmp_path: Path):
    (tmp_path / "test_mine.py").write_text(TESTS, encoding="utf-8")
    (tmp_path / "conftest.py").write_text(
        'pytest_plugins = ["jaxmore.testing.pytest_plugin"]\n', encoding="utf-8"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "cause: it is half of what it should be" in done.stdout
    _, tables = done.stdout.split("hand-derived gradients checked")
    assert "square  shape  autodiff  differences" in tables


@pytest.mark.slow
def test_check_rule_needs_none_of_the_test_tools():
    """The process cannot import them."""
    program = """
import sys
for name in ("hypothesis", "torch", "beartype", "pytest", "mpmath"):
    sys.modules[name] = None
import jax.numpy as jnp
from jaxmore.testing import RuleError, check_rule
print(check_rule(lambda x: (x * x, x), lambda x, dy: (2 * x * dy,), jnp.ones(1), dtypes=()))
try:
    check_rule(lambda x: (x * x, x), lambda x, dy: (x * dy,), jnp.ones(1), modes=False)
except RuleError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "modes within" in done.stdout
    assert "cause: it is half of what it should be" in done.stdout


@settings(max_examples=5)
@given(rule_arguments("f[*B,E] f[E]"))
@pytest.mark.slow
def test_a_right_rule_is_right_on_every_draw(args):
    check_rule(rules.rms_norm_fwd, rules.rms_norm_bwd, *args, dtypes=(), modes=False)


def test_a_failing_draw_shrinks():
    x, weight, bias = find(
        rule_arguments("f[*B,I] f[I,O] f[O]"),
        lambda args: args[1].shape[1] >= 3,
        settings=settings(database=None, derandomize=True),
    )
    assert (x.shape, weight.shape, bias.shape) == ((1,), (1, 3), (3,))
    np.testing.assert_array_equal(x, parse_args("f[1]")[0])
