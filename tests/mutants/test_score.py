"""docs/right.md states the results of ``make mutants``, which CI runs."""

from tests.mutants.mutate import ROOT


def test_the_page_of_the_proofs_tells_the_score():
    page, other = ((ROOT / f"docs/{name}.md").read_text("utf-8") for name in ("mutants", "right"))
    (row,) = [line for line in page.splitlines() if line.startswith("| all |")]
    mutants, killed, equivalent, score = row.strip("| ").split(" | ")[1:]
    assert f"plants {mutants} small mistakes" in other
    assert f"{killed} are found; the {equivalent} others compute the same" in other
    assert f"The score is {float(score.rstrip('%')):g} %." in other
