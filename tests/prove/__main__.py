"""Prove all rules, count their digits and refuse their mutants (``make prove``).

Writes the table of docs/rules/README.md. With arguments it only runs the mutants of these files,
and writes nothing.
"""

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from jaxmore import rules
from jaxmore.ninja.proof import prove_stepwise
from jaxmore.prove import certify_digits, prove_layers, prove_rule
from jaxmore.prove.rule import EVERY_SHAPE
from jaxmore.testing.arguments import parse_args
from jaxmore.testing.shipped import FAMILIES
from tests.mutants.mutate import ROOT
from tests.prove.mutants import RULES, Result, judge

PAGE = ROOT / "docs" / "rules" / "README.md"
HEADING = "## How each rule is known to be right\n"


def row(name: str) -> list[str]:
    """Prove one rule, and count its digits on the same input."""
    op, fwd, bwd = (getattr(rules, name + end) for end in ("", "_fwd", "_bwd"))
    family = FAMILIES[name][0]
    args, options = parse_args(family.arguments), family.options
    proof = prove_rule(fwd, bwd, *args, op=op, name=name, options=options)
    certificate = certify_digits(fwd, bwd, *args, name=name, options=options)
    print(proof, certificate, sep="\n", flush=True)
    bound = f"{proof.bound:.0e}" if proof.passed and proof.bound is not None else proof.verdict
    at = "every shape" if EVERY_SHAPE in proof.notes else f"`{family.arguments}`"
    cells = [f"[{name}]({name}.md)", at, bound]
    for dtype in ("float32", "float64"):
        digits = [d for d in certificate.digits if d.dtype == dtype]
        worst, median = (min(getattr(d, k) for d in digits) for k in ("worst", "median"))
        cells.append(f"{worst:.1f}, {median:.1f}")
    return cells


def judge_all(files: list[str]) -> Iterator[Result]:
    """Run the mutants of the files, two at a time, and print what is found."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for result in pool.map(judge, files):
            print(
                f"{result.file}: {result.n_refused} of {result.n_mutants} refused, "
                f"{len(result.harmless)} compute the same function",
                flush=True,
            )
            for line in result.escaped:
                print(f"  ESCAPED: {line}", flush=True)
            yield result


def write_table() -> None:
    """Prove every rule, count its digits, and write the table of docs/rules/README.md."""
    head = ["rule", "at", "wrong with probability <", "float32 digits", "float64 digits"]
    rows = [head, ["---"] * len(head), *map(row, FAMILIES)]
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in rows)
    before, rest = PAGE.read_text(encoding="utf-8").split(HEADING)
    intro = rest.split("| rule |")[0]
    PAGE.write_text(f"{before}{HEADING}{intro}{table}", encoding="utf-8")


def main() -> None:
    start = time.monotonic()
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3"}
    if not sys.argv[1:]:
        write_table()
        if not all(proof.passed for proof in [*prove_layers(), *prove_stepwise()]):
            sys.exit("a layer or a line is not proved")
    results = list(judge_all(sys.argv[1:] or RULES))
    refused, total = (sum(r[i] for r in results) for i in (3, 2))
    print(f"{refused} of {total} mutants refused in {time.monotonic() - start:.0f} s")
    if any(r.escaped for r in results):
        sys.exit("the prover accepts a mutant that changes the exact function")


if __name__ == "__main__":
    main()
