"""The checker catches every planted mistake, names its argument, and gives no wrong cause."""

import pytest

from jaxmore import rules
from jaxmore.testing.arguments import parse_args
from jaxmore.testing.rule import examine
from jaxmore.testing.shipped import FAMILIES
from tests.testing.planted import PLANTED, Planted, plant


def test_there_are_enough_of_them():
    assert len(PLANTED) >= 60
    assert len({mistake[:4] for mistake in PLANTED}) == len(PLANTED)


@pytest.mark.parametrize("mistake", PLANTED, ids=lambda m: f"{m.rule}: {m.right} -> {m.wrong}")
@pytest.mark.slow
def test_a_planted_mistake_is_caught(mistake: Planted):
    module, family = plant(mistake), FAMILIES[mistake.rule][0]
    fwd, bwd = (getattr(module, f"{mistake.rule}_{part}") for part in ("fwd", "bwd"))
    args = parse_args(family.arguments)
    report = examine(fwd, bwd, *args, op=getattr(rules, mistake.rule), **family.options)
    assert not report.passed
    first = report.problems[0]
    assert first.argument == mistake.argument, report
    if first.check == "autodiff":
        assert first.index is not None
        assert f"{first.argument}{list(first.index)}" in str(first)
        assert first.ours != first.oracle
    if mistake.cause is None:
        assert first.cause is None, report
    else:
        assert mistake.cause in (first.cause or ""), report
