"""docs/exactness.md names all that there is, and a piece of it holds when measured anew."""

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is one of the three ways")
pytest.importorskip("mpmath", reason="mpmath is the truth in the tails")

from benchmarks.exactness import rules, stepwise
from jaxmore import stepwise as ours
from jaxmore.testing.shipped import FAMILIES

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "exactness.md"
ROWS = [line.split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines()]


def test_the_page_names_every_rule_family_and_variable():
    names = {row[0].removeprefix("| ") for row in ROWS}
    assert names >= set(FAMILIES) | set(ours.Cotangents._fields)
    arguments = {
        (row[0].removeprefix("| "), re.sub("`.*", "", row[1][1:])) for row in ROWS if row[1:]
    }
    for name, families in FAMILIES.items():
        assert arguments >= {(name, family.arguments) for family in families}


@pytest.mark.parametrize(("name", "place"), [("softmax_cross_entropy", 0), ("rms_norm", 0)])
def test_the_hand_is_as_exact_as_the_better_autodiff(name, place):
    """Up to the noise of the draws."""
    for measured in rules.measure(name, FAMILIES[name][place], seeds=200):
        assert measured.ratio < 1.5


def test_24_lines_of_the_exercise_have_torchs_bits():
    """Where the page says so; on another processor at least those that add nothing up."""
    steps = {step.name: step for step in stepwise.measure(seeds=2)}
    no_sums = "logprobs probs counts_sum_inv counts_sum counts norm_logits logits hpreact bnraw"
    for name in f"{no_sums} bndiff2 bndiff hprebn emb".split():
        assert steps[name].jitted == 1, name
    assert all(step.ulp <= 2 for step in steps.values() if step.name in ("bnvar", "bngain"))


def test_ulps_counts_the_numbers_between():
    a = np.array([1.0, -0.0, -1e-45, 3.0], np.float32)
    b = np.array([np.nextafter(np.float32(1), np.float32(2)), 0, 1e-45, 3], np.float32)
    np.testing.assert_array_equal(rules.ulps(a, b), [1, 0, 2, 0])
