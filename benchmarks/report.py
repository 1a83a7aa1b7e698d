"""Writes docs/benchmarks.md: the results as tables, and how to read them."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.columns import COMPARED, Section, code_digest, column
from benchmarks.tables import TABLES, Rows, by, table

HEAD = """# Benchmarks

Written by `make bench` (`python -m benchmarks`), with [benchmarks.json](benchmarks.json) beside it.

All contestants do the same work on the same names in the same batches. Each is written in the
fastest fair form that we know, in one short file in
[benchmarks/contestants](../benchmarks/contestants). Before anything is timed, the first ten losses
of all contestants must agree to 1e-5. Then the contestants take turns in shuffled rounds, each in
its own process. Times are medians over the rounds. A ratio is the median of the ratios within a
round, so a slow moment of the machine affects both sides. The peers receive the batches that
jaxmore draws; only the times of jaxmore and of jax.grad in the same scan include drawing them.

"To first step" is the time from the start of the process to the first step: imports, set-up and
compilation. Memory is the peak of the process, including imports and data.

A section may have several columns, one for each jax, vector width and number of cores that it was
measured with. "AVX2" on a processor with AVX-512 limits the code that XLA compiles, NumPy, PyTorch
and C; XLA's library of matrix products does not obey it, which favours jaxmore and jax.grad at
large batches. Below each table stands what it was measured on, and whether the code has changed
since. All of it is on CPUs: `make bench-gpu` is ready for a GPU, but has not been run on one yet.
"""


def write_report(sections: dict[str, list[Section]]) -> str:
    """Return the page; ``sections`` is as in benchmarks.json."""
    parts = [HEAD, "![Steps a second](images/benchmarks.png)\n"]
    code = code_digest()
    for name, columns in sections.items():
        title, introduction, tables = TABLES[name]
        parts += [f"## {title}\n", introduction]
        if len(columns) > 1 and name in SUMMARIES:
            parts.append(SUMMARIES[name](columns))
        for section in columns:
            if len(columns) > 1:
                parts.append(f"### {title}: {column(section['machine'])}\n")
            parts += [*tables(section), _measured(section["machine"], code)]
    return "\n".join(parts)


def _training_by_column(columns: Sequence[Section]) -> str:
    """Return the microseconds of a step at one batch size, in every column."""

    def cell(mine: Rows) -> str:
        (row,) = (row for row in mine if row["batch_size"] == COMPARED)
        return f"{row['us_per_step']:,.1f} (×{row['ratio']:.2f})"

    head = f"Microseconds a step at batch {COMPARED}, in every column:\n\n"
    return head + _by_column(columns, cell)


def _ladder_by_column(columns: Sequence[Section]) -> str:
    """Return the ratios over all models, their geometric mean and the worst, in every column."""

    def cell(mine: Rows) -> str:
        ratios = [row["ratio"] for row in mine]
        return f"×{statistics.geometric_mean(ratios):.2f} (worst ×{min(ratios):.2f})"

    head = "The geometric mean of the ratios of all models, and the worst, in every column:\n\n"
    return head + _by_column(columns, cell)


def _by_column(columns: Sequence[Section], cell: Callable[[Rows], str]) -> str:
    cells = [{name: cell(mine) for name, mine in by(s["rows"], "contestant")} for s in columns]
    names = dict.fromkeys(name for its in cells for name in its)
    return table(
        ["", *(column(section["machine"]) for section in columns)],
        ([name, *(its.get(name, "") for its in cells)] for name in names),
    )


SUMMARIES: dict[str, Callable[[Sequence[Section]], str]] = {
    "training": _training_by_column,
    "ladder": _ladder_by_column,
}
"""What compares the columns of a section."""


def _measured(machine: dict[str, Any], code: str) -> str:
    older = "" if machine["code"] == code else " Measured on an earlier version of the code."
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items() if v)
    return (
        f"{machine['date']}, {machine['rounds']}; {machine['cpu']}, {machine['isa']}, "
        f"{machine['cores']} cores, {machine['memory_gb']} GB, "
        f"load {machine['load_before']} before; device {machine['device']}, "
        f"matrix products in {machine['matmul_precision']}, ceiling "
        f"{machine['matmul_ceiling_gflops']} GFLOPS; Python {machine['python']}, "
        f"{versions}.{older}\n"
    )
