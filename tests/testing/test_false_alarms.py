"""No false alarm: random rules with derivatives that are surely right."""

import os

import pytest

from jaxmore.testing.rule import examine
from tests.testing.right_rules import draw_rule

N_RULES = int(os.environ.get("RIGHT_RULES", "8"))
"""``make alarms`` asks for 200, in CI: to compile for one takes about a second."""


@pytest.mark.parametrize("seed", range(N_RULES))
@pytest.mark.slow
def test_a_right_rule_is_never_called_wrong(seed: int):
    rule = draw_rule(seed)
    every_check = {} if seed % 20 == 0 else {"dtypes": (), "modes": False}
    report = examine(rule.fwd, rule.bwd, *rule.args, **every_check)
    assert report.passed, f"{rule.text}\n{report}"


def test_the_rules_are_as_many_as_their_names():
    assert len({draw_rule(seed).text for seed in range(N_RULES)}) == N_RULES
