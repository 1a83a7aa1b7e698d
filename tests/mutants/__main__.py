"""Run mutation tests of rules, layers and stepwise (``make mutants``); write docs/mutants.md."""

import gc
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from tempfile import TemporaryDirectory

from tests.mutants.equivalent import EQUIVALENT
from tests.mutants.mutate import FILES, ROOT
from tests.mutants.run import Result, run

LARGEST_FIRST = sorted(FILES, key=lambda file: -len((ROOT / file).read_text(encoding="utf-8")))


def table(results: list[Result]) -> str:
    """Format a row for each file and one for the total."""
    rows = [
        (f"`{r.file}`", r.n_mutants, r.n_killed, r.n_equivalent, f"{r.score:.1%}") for r in results
    ]
    mutants, killed, equivalent = (sum(row[i] for row in rows) for i in (1, 2, 3))
    rows.append(("all", mutants, killed, equivalent, f"{killed / (mutants - equivalent):.1%}"))
    head = "| file | mutants | killed | equivalent | score |\n|---|---:|---:|---:|---:|\n"
    return head + "".join(f"| {a} | {b:,} | {c:,} | {d} | {e} |\n" for a, b, c, d, e in rows)


def page(results: list[Result]) -> str:
    """Format docs/mutants.md."""
    lines = [
        "# Mutants",
        "",
        "The tests of the gradients are tested too: thousands of small mistakes are planted in the",
        "code, one at a time, and a check must fail on each. Every mistake that changes a result",
        "is found; the few that are not found compute the same, each for a reason that is given.",
        "",
        "`make mutants` generates this page. A mutant is a source file with one node of its syntax",
        "tree changed: an operator swapped, a term or factor dropped, a constant nudged, `sum`",
        "replaced by `mean` or `set` by `add`, `.T` removed, an axis changed, a slice shifted,",
        "arguments or outputs swapped, a conversion removed. A mutant is killed if a check fails",
        "on it. The checks compare values and gradients with the PyTorch definition of each rule",
        "and layer and its autograd, in float64 to 1e-12. They also check dtypes, rounding in",
        "bfloat16, and that invalid calls raise. The score is the share of killed mutants among",
        "those that change the computation. CI runs all of them.",
        "",
        '<details markdown="1"><summary>The score of every file</summary>',
        "",
        table(results),
        "</details>",
        "",
        "## Equivalent mutants",
        "",
        "These mutants compute the same function. An identity says why, and a comparison on",
        "10,000 random inputs confirms it. (Those of `description.py`, which formats text, are",
        "compared on a model with 100 layers of different widths.)",
        "",
        '<details markdown="1"><summary>Every equivalent mutant and its reason</summary>',
        "",
        "| file | function | before | after | reason |",
        "|---|---|---|---|---|",
    ]
    for e in EQUIVALENT:
        before, after = e.before.replace("|", "\\|"), e.after.replace("|", "\\|")
        name = e.file.removeprefix("jaxmore/")
        lines.append(f"| {name} | {e.function} | `{before}` | `{after}` | {e.identity} |")
    lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def main() -> None:
    with TemporaryDirectory() as compiled:
        # Each mutant runs only a few times, so optimising it takes longer than it saves. The
        # processes share a compilation cache.
        os.environ |= {
            "JAX_COMPILATION_CACHE_DIR": compiled,
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "true",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "JAX_TRACEBACK_FILTERING": "off",
            "TF_CPP_MIN_LOG_LEVEL": "3",  # see jaxmore/runs/compilation_cache.py
            "XLA_FLAGS": "--xla_cpu_use_fusion_emitters=false",
        }
        with ProcessPoolExecutor(
            2,
            mp_context=get_context("spawn"),
            initializer=gc.set_threshold,  # as in tests/conftest.py
            initargs=(200_000, 50, 50),
        ) as pool:
            results = sorted(pool.map(run, LARGEST_FIRST))
    print(table(results))
    wrong = [f"alive: {r.file} {m}" for r in results for m in r.alive]
    wrong += [f"listed but killed, or gone: {r.file} {m}" for r in results for m in r.killed]
    if wrong:
        sys.exit("\n".join(wrong))
    (ROOT / "docs" / "mutants.md").write_text(page(results), encoding="utf-8")


if __name__ == "__main__":
    main()
