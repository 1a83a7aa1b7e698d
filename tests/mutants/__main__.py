"""``make mutants``: mutation testing of rules, layers and stepwise; writes docs/mutants.md."""

import gc
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from tempfile import TemporaryDirectory

from tests.mutants.equivalent import EQUIVALENT
from tests.mutants.mutate import FILES, ROOT
from tests.mutants.run import Result, run

LARGEST_FIRST = sorted(FILES, key=lambda file: -len((ROOT / file).read_text()))


def table(results: list[Result]) -> str:
    """A row for each file, and one for all."""
    rows = [
        (f"`{r.file}`", r.n_mutants, r.n_killed, r.n_equivalent, f"{r.score:.1%}") for r in results
    ]
    mutants, killed, equivalent = (sum(row[i] for row in rows) for i in (1, 2, 3))
    rows.append(("all", mutants, killed, equivalent, f"{killed / (mutants - equivalent):.1%}"))
    head = "| file | mutants | killed | equivalent | score |\n|---|---:|---:|---:|---:|\n"
    return head + "".join(f"| {a} | {b:,} | {c:,} | {d} | {e} |\n" for a, b, c, d, e in rows)


def page(results: list[Result]) -> str:
    """docs/mutants.md."""
    lines = [
        "# Mutants",
        "",
        "`make mutants` writes this page. A mutant is a file of jaxmore with one node of its",
        "syntax tree changed: an operator swapped, a term or factor dropped, a constant nudged,",
        "`sum` put for `mean` or `set` for `add`, `.T` removed, an axis changed, a slice shifted,",
        "arguments or outputs swapped, a conversion left out. What has to kill it: the definition",
        "of every rule and layer in PyTorch and autograd through it, in float64 to 1e-12; the",
        "dtypes, and the rounding in bfloat16; the calls that must be refused. The score is the",
        "share that they kill of the mutants that change what is computed. CI runs them all.",
        "",
        table(results),
        "## Equivalent mutants",
        "",
        "These compute the same, by an identity, and did so on 10,000 random inputs; those of",
        "description.py, which no number enters, on a model of 100 layers of different widths.",
        "",
        "| file | in | before | after | because |",
        "|---|---|---|---|---|",
    ]
    for e in EQUIVALENT:
        before, after = e.before.replace("|", "\\|"), e.after.replace("|", "\\|")
        name = e.file.removeprefix("jaxmore/")
        lines.append(f"| {name} | {e.function} | `{before}` | `{after}` | {e.identity} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    with TemporaryDirectory() as compiled:
        # An operation of a mutant runs a few times: to optimise it takes XLA longer, and so does
        # what makes it fast. What one process has compiled the other loads.
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
    wrong += [f"listed, but killed or no more: {r.file} {m}" for r in results for m in r.killed]
    if wrong:
        sys.exit("\n".join(wrong))
    (ROOT / "docs" / "mutants.md").write_text(page(results))


if __name__ == "__main__":
    main()
