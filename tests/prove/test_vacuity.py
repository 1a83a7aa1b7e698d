"""Samples of ``make prove``: mutants are refused, and right rules are not called wrong."""

import pytest

from jaxmore.prove import prove_rule
from tests.testing.right_rules import draw_rule

SAMPLE = {"jaxmore/rules/_l2.py": 5, "jaxmore/rules/_softmax.py": 5, "jaxmore/rules/_linear.py": 6}
"""Files, and every which mutant of them."""


@pytest.mark.parametrize(
    "file",
    [
        "jaxmore/rules/_l2.py",
        pytest.param("jaxmore/rules/_softmax.py", marks=pytest.mark.slow),
        pytest.param("jaxmore/rules/_linear.py", marks=pytest.mark.slow),
    ],
)
def test_the_prover_refuses_mutants(file: str):
    pytest.importorskip("torch", reason="torch says which mutants change the function")
    from tests.prove.mutants import judge

    result = judge(file, slice(None, None, SAMPLE[file]))
    assert not result.escaped
    assert result.n_refused > 4


@pytest.mark.parametrize("seed", range(1, 4))
def test_a_right_rule_is_proved(seed: int):
    rule = draw_rule(seed)
    proof = prove_rule(rule.fwd, rule.bwd, *rule.args, n_points=1)
    assert proof.passed, f"{rule.text}\n{proof}"
