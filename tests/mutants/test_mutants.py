"""A sixteenth of the mutants, from all over each file; ``make mutants`` runs them all."""

import pytest

from tests.mutants.mutate import FILES
from tests.mutants.run import run


@pytest.mark.parametrize("file", FILES)
def test_every_mutant_is_killed_or_equivalent(file: str):
    result = run(file, stride=16)
    assert not result.alive
    assert not result.killed
    assert result.n_mutants
