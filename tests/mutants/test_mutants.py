"""A sixteenth of the mutants, from all over each file; ``make mutants`` runs them all."""

from tests.mutants.mutate import FILES, ROOT
from tests.mutants.run import run_all


def test_every_mutant_is_killed_or_equivalent():
    results = run_all(n_processes=1, stride=16)
    assert [result.file for result in results] == sorted(FILES)
    for result in results:
        assert not result.alive
        assert not result.killed, result.file
        assert result.n_mutants


def test_the_readme_tells_the_score_of_the_page():
    page, readme = ((ROOT / name).read_text("utf-8") for name in ("docs/mutants.md", "README.md"))
    (row,) = [line for line in page.splitlines() if line.startswith("| all |")]
    mutants, killed, equivalent, score = row.strip("| ").split(" | ")[1:]
    assert f"plants {mutants} small mistakes" in readme
    assert f"{killed} are found; the {equivalent} others compute the same" in readme
    assert f"A score of {float(score.rstrip('%')):g} %." in readme
