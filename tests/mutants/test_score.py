"""README.md states the results of ``make mutants``, which CI runs."""

from tests.mutants.mutate import ROOT


def test_the_readme_tells_the_score_of_the_page():
    page, readme = ((ROOT / name).read_text("utf-8") for name in ("docs/mutants.md", "README.md"))
    (row,) = [line for line in page.splitlines() if line.startswith("| all |")]
    mutants, killed, equivalent, score = row.strip("| ").split(" | ")[1:]
    assert f"plants {mutants} small mistakes" in readme
    assert f"{killed} are found; the {equivalent} others compute the same" in readme
    assert f"A score of {float(score.rstrip('%')):g} %." in readme
