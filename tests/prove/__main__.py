"""Prove all rules at all sizes, count their digits and refuse their mutants (``make prove``).

Proves 200 random right rules, too.

Writes the tables of docs/rules/README.md. With arguments it only runs the mutants of these files,
and writes nothing.
"""

import functools
import itertools
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from jaxmore import rules
from jaxmore.ninja.proof import prove_stepwise
from jaxmore.prove import certify_digits, prove_layers, prove_rule
from jaxmore.prove.rule import EVERY_SHAPE
from jaxmore.testing.arguments import parse_args
from jaxmore.testing.shipped import FAMILIES
from tests.mutants.mutate import ROOT, mutants_of
from tests.prove.axes import all_sizes
from tests.prove.mutants import RULES, Result, judge
from tests.testing.right_rules import draw_rule

PAGE = ROOT / "docs" / "rules" / "README.md"
COLUMNS = [
    "rule", "proved at", "wrong with probability <", "all sizes of",
    "compared with autodiff, differences, torch", "float32 digits", "float64 digits",
    "mutants refused",
]  # fmt: skip
FILE_COLUMNS = [
    "file", "mutants", "refused", "another program in float32 or bfloat16 alone",
    "the same programs", "another program, the same function",
]  # fmt: skip
SHARD = 40  # mutants
KINDS = ("refused", "narrow", "same", "equal")


def row(name: str, results: Sequence[Result]) -> list[str]:
    """Prove one rule, and count its digits on the same input."""
    op, fwd, bwd = (getattr(rules, name + end) for end in ("", "_fwd", "_bwd"))
    family = FAMILIES[name][0]
    args, options = parse_args(family.arguments), family.options
    proof = prove_rule(fwd, bwd, *args, op=op, name=name, options=options)
    certificate = certify_digits(fwd, bwd, *args, name=name, options=options)
    print(proof, certificate, sep="\n", flush=True)
    bound = f"{proof.bound:.0e}" if proof.passed and proof.bound is not None else proof.verdict
    sizes = "every shape: elementwise" if EVERY_SHAPE in proof.notes else all_sizes(name)
    cells = [f"[{name}]({name}.md)", f"`{family.arguments}`", bound, sizes]
    cells.append(f"{len(FAMILIES[name])} kinds of arguments")
    for dtype in ("float32", "float64"):
        digits = [d for d in certificate.digits if d.dtype == dtype]
        worst, median = (min(getattr(d, k) for d in digits) for k in ("worst", "median"))
        cells.append(f"{worst:.1f}, {median:.1f}")
    file = bwd.__module__.replace(".", "/") + ".py"
    (result,) = (result for result in results if result.file == file)
    return [*cells, f"{result.n_refused} of {result.n_mutants}"]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def judge_all(files: list[str]) -> Iterator[Result]:
    """Run the mutants of the files, two shards at a time, and print what is found."""
    shards = [
        (file, slice(start, start + SHARD))
        for file in files
        for start in range(0, len(list(mutants_of(file))), SHARD)
    ]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        judged = pool.map(judge, *zip(*shards, strict=True))
        for _, of_file in itertools.groupby(judged, lambda result: result.file):
            result = functools.reduce(_merge, of_file)
            told = ", ".join(f"{n} {kind}" for n, kind in zip(counted(result), KINDS, strict=True))
            print(f"{result.file}: {result.n_mutants} mutants, {told}", flush=True)
            for line in result.escaped:
                print(f"  ESCAPED: {line}", flush=True)
            yield result


def _merge(a: Result, b: Result) -> Result:
    """Add the results of two shards of a file: counts and lists alike."""
    return Result(a.file, *(x + y for x, y in zip(a[1:], b[1:], strict=True)))


def counted(result: Result) -> list[int]:
    """The number of mutants of each kind."""
    return [result.n_refused, *(len(getattr(result, kind)) for kind in KINDS[1:])]


def write_page(results: Sequence[Result]) -> None:
    """Prove every rule, count its digits, and write the tables of docs/rules/README.md."""
    counts = [[r.n_mutants, *counted(r)] for r in results]
    counts.append([sum(column) for column in zip(*counts, strict=True)])
    names = [*(f"`{r.file.rpartition('/')[2]}`" for r in results), "all"]
    equal = [
        [name, *(f"`{part}`" for part in mutant.replace("|", "\\|").split("  →  "))]
        for name, result in zip(names, results, strict=False)
        for mutant in result.equal
    ]
    tables = [
        table(COLUMNS, [row(name, results) for name in FAMILIES]),
        table(FILE_COLUMNS, [[n, *map(str, c)] for n, c in zip(names, counts, strict=True)]),
        table(["where", "before", "after"], equal),
    ]
    page = PAGE.read_text(encoding="utf-8")
    for new in tables:
        head = re.escape(new.partition("\n")[0])
        page, n = re.subn(f"^{head}\n(\\|.*\n)*", lambda _, new=new: new, page, flags=re.M)
        if n != 1:
            raise AssertionError(f"{PAGE} has {n} tables {head!r}")
    PAGE.write_text(page, encoding="utf-8")


def prove_right_rules() -> None:
    """Prove 200 random right rules; stop if one is called wrong, or ten are not proved."""
    verdicts = list[str]()
    for seed in range(200):
        rule = draw_rule(seed)
        proof = prove_rule(rule.fwd, rule.bwd, *rule.args, n_points=1)
        verdicts.append(proof.verdict)
        if not proof.passed:
            print(rule.text, proof, sep="\n", flush=True)
    print(*(f"{verdicts.count(v)} right rules {v}" for v in ("proved", "not proved", "wrong")))
    if "wrong" in verdicts or verdicts.count("proved") < 190:
        sys.exit("right rules are not proved")


def main() -> None:
    start = time.monotonic()
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3"}
    results = list(judge_all(sys.argv[1:] or RULES))
    refused, total = sum(r.n_refused for r in results), sum(r.n_mutants for r in results)
    print(f"{refused} of {total} mutants refused in {time.monotonic() - start:.0f} s")
    if any(r.escaped for r in results):
        sys.exit("the prover accepts a mutant that changes the exact function")
    if not sys.argv[1:]:
        write_page(results)
        if not all(proof.passed for proof in [*prove_layers(), *prove_stepwise()]):
            sys.exit("a layer or a line is not proved")
        prove_right_rules()


if __name__ == "__main__":
    main()
