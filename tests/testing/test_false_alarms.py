"""Random right rules pass the checker, and their wrong twins are given no wrong cause."""

import os
from typing import Any

import jax
import pytest

from jaxmore.testing.rule import examine
from tests.testing.hard_rules import draw_hard_rule
from tests.testing.right_rules import draw_rule

N_RULES = int(os.environ.get("RIGHT_RULES", "8"))
"""The number of right rules; ``make alarms`` sets 200. A rule takes about a second."""
N_HARD = max(8, N_RULES // 5)
"""The number of draws from the hard kinds, right and with a wrong twin."""
CAUSES = {-1.0: "its sign is wrong", 2.0: "it is twice", 0.5: "it is half"}
FACTORS = (-1.0, 2.0, 0.5, 0.8, 1.25, 1.0001, 5**0.5)
"""The factors of the wrong twins' first cotangents; 4/5 is also a ratio of counts."""


@pytest.mark.parametrize("seed", range(N_RULES))
@pytest.mark.slow
def test_a_right_rule_is_never_called_wrong(seed: int):
    rule = draw_rule(seed)
    every_check = {} if seed % 20 == 0 else {"dtypes": (), "modes": False}
    report = examine(rule.fwd, rule.bwd, *rule.args, **every_check)
    assert report.passed, f"{rule.text}\n{report}"


@pytest.mark.parametrize("seed", range(N_HARD))
@pytest.mark.quick("3")
def test_a_right_rule_of_a_hard_kind_is_never_called_wrong(seed: int):
    rule, text = draw_hard_rule(seed)
    every_check = {} if seed % 20 == seed // 20 else {"dtypes": (), "modes": False}
    report = examine(rule.fwd, rule.bwd, *rule.args, **every_check)
    assert report.passed, f"{text}\n{report}"


@pytest.mark.parametrize("seed", range(N_HARD))
@pytest.mark.quick("1")
def test_a_wrong_twin_gets_no_wrong_cause(seed: int):
    rule, text = draw_hard_rule(seed)
    factor = FACTORS[seed % len(FACTORS)]

    def wrong(residuals: Any, dy: Any) -> Any:
        first, *rest = rule.bwd(residuals, dy)
        return jax.tree.map(lambda d: (factor * d).astype(d.dtype), first), *rest

    report = examine(rule.fwd, wrong, *rule.args, dtypes=(), modes=False)
    # A multiple of a slope at a kink, or of zero, may be right, too.
    assert not report.passed or text.startswith(("relu", "clip", "row_norms")), text
    expected = CAUSES.get(factor, f"it is {factor:.6g} times what it should be")
    for problem in report.problems:
        if problem.cause is not None:
            assert problem.cause.startswith(expected), f"{text}\n{report}"


@pytest.mark.slow
def test_the_rules_are_as_many_as_their_names():
    assert len({draw_rule(seed).text for seed in range(N_RULES)}) == N_RULES
