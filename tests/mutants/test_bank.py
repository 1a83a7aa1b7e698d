"""The bank of the tutor: its lines are wrong, apart from each other, and tell planted mistakes."""

import ast
import inspect
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest

from jaxmore.ninja import bank, stepwise
from jaxmore.ninja.bank.matching import SAME, answer, distance_between
from jaxmore.ninja.bank.network import RIGHT
from jaxmore.ninja.bank.values import value_of
from jaxmore.ninja.blanks import BACKPROP, NAMES
from jaxmore.ninja.grader import evidence
from jaxmore.testing.diagnosis import cause_of
from tests.mutants.bank import FILE, generate, numbers
from tests.mutants.mutate import mutants_of
from tests.mutants.run import load

BANK = bank.network_bank()


@pytest.fixture(autouse=True)
def _x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.slow
def test_the_generated_lines_are_those_of_the_right_lines():
    """``python -m tests.mutants.bank`` writes them."""
    assert json.loads(FILE.read_text("utf-8")) == generate()


def test_names_are_unique_and_sentences_short():
    names = Counter(m.name for mistakes in BANK.values() for m in mistakes if m.name)
    assert names.most_common(1)[0][1] == 1
    assert tuple(BANK) == tuple(RIGHT) == NAMES
    for blank, mistakes in BANK.items():
        for mistake in mistakes:
            assert RIGHT[blank].replace(" ", "") not in mistake.answer.replace(" ", "")
            assert mistake.answer.count(". ") == 0


@pytest.mark.slow
@pytest.mark.parametrize("blank", NAMES)
def test_each_line_is_wrong_and_is_told_by_its_own_sentence(blank):
    """Far from the right value and from every other line's, so that no value has two answers."""
    names, right = numbers()[blank]
    assert distance_between(value_of(RIGHT[blank], names), right, right) < 1e-12
    values = [value_of(mistake.code, names) for mistake in BANK[blank]]
    for i, value in enumerate(values):
        assert np.isfinite(value).all()
        for other in (right, *values[:i]):
            assert distance_between(value, other, right) > 2 * SAME, BANK[blank][i]


@pytest.mark.slow
def test_the_bank_or_a_rule_of_thumb_tells_every_mutant_of_a_line():
    told = Counter(_told(blank, value) for blank, value in _values_of_mutants())
    assert told["nothing"] == 0, told
    assert told["bank"] > 0.85 * told.total(), told


def _values_of_mutants() -> Iterator[tuple[str, Any]]:
    """What each mutant of a backward line gives, with right numbers above it; None if it fails."""
    lines = _lines()
    for mutant in mutants_of("jaxmore/ninja/stepwise.py"):
        for blank, code in lines.items():
            if mutant.function == "backward" and mutant.before in code:
                changed = [mutant.after if line == mutant.before else line for line in code]
                yield blank, _run(blank, changed)
    file = "jaxmore/ninja/closed_forms.py"
    arguments = {
        "logits_fast": ("dlogits_closed", ("logits", "Y")),
        "hprebn_fast": ("dhprebn_closed", ("bngain", "bnraw", "bnvar_inv", "dhpreact")),
    }
    for mutant in mutants_of(file):
        for blank, (function, reads) in arguments.items():
            if mutant.function == function:
                names, _ = numbers()[blank]
                closed = getattr(load(file, mutant.code), function)
                try:
                    yield blank, closed(*(names[name] for name in reads))
                except Exception:
                    yield blank, None


def _lines() -> dict[str, list[str]]:
    """The statements of ``stepwise.backward`` that make each cotangent."""
    source = ast.parse(inspect.getsource(inspect.unwrap(stepwise.backward)))
    lines: dict[str, list[str]] = {}
    helpers: list[str] = []
    for node in ast.walk(source):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            target = node.targets[0].id
            if target.removeprefix("d") in NAMES:
                lines.setdefault(target[1:], []).extend([*helpers, ast.unparse(node)])
                helpers.clear()
            elif target not in ("n", "v"):
                helpers.append(ast.unparse(node))
    return lines


def _run(blank: str, code: list[str]) -> Any:
    names, _ = numbers()[blank]
    space = vars(stepwise) | names
    space["v"] = stepwise.Intermediates(*(names[k] for k in stepwise.Intermediates._fields))
    space["params"] = stepwise.Parameters(*(names[k] for k in stepwise.Parameters._fields))
    try:
        exec("\n".join(code), space)
    except Exception:
        return None
    return space[f"d{blank}"]


def _told(blank: str, value: Any) -> str:
    if value is None:
        return "an exception or a blank"
    names, right = numbers()[blank]
    ours = np.asarray(value, float)
    if not np.isfinite(ours).all():
        return "infinite"  # the grader counts these elements
    if distance_between(ours, right, right) <= SAME:
        return "right"
    if answer(BANK[blank], ours, right, names):
        return "bank"
    given = {k[1:]: v for k, v in names.items() if k.startswith("d")} | {blank: right}
    cause = cause_of(evidence(blank, ours, right, names, given, BACKPROP))
    return "rules of thumb" if cause else "nothing"
