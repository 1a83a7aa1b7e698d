"""Writes docs/benchmarks.md: the results as tables, and how to read them."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.growth import by_axis, slope

HEAD = """# Benchmarks

Written by `make bench` (`python -m benchmarks`), with [benchmarks.json](benchmarks.json) beside it.

Everyone does the same work on the same names in the same batches, in the fastest honest form that
we could write of each (one short file each in [benchmarks/contestants](../benchmarks/contestants)).
First the losses must agree: each of the first ten to 1e-5. Then the contestants, each in a process
of its own, take turns in shuffled rounds. Times are medians over the rounds, and a ratio is the
median of the ratios within a round, so that a slow moment of the machine touches both. The peers
are given the batches that jaxmore draws, so drawing them is in the time of jaxmore and of jax.grad
in the same scan alone.

"To first step" counts from the start of the process: imports, set-up and compilation, without the
steps themselves. Memory is the most that the process held, imports and data included.
"""

Rows = Sequence[dict[str, Any]]
Section = dict[str, Any]
"""{"machine": what it ran on, "rows": what was measured}"""


def write_report(sections: dict[str, Section]) -> str:
    """Return the page; ``sections`` is as in benchmarks.json."""
    parts = [HEAD, "![Steps a second](images/benchmarks.png)\n"]
    for name, section in sections.items():
        parts += [*TABLES[name](section), _measured(section["machine"])]
    return "\n".join(parts)


def _steps(rows: Rows) -> str:
    sizes = sorted({row["batch_size"] for row in rows})
    return _table(
        ["", *(f"batch {size:,}: µs a step" for size in sizes)],
        (
            [name, *(cells.get(size, "") for size in sizes)]
            for name, mine in _by(rows, "contestant")
            for cells in [
                {r["batch_size"]: f"{r['us_per_step']:,.1f} (×{r['ratio']:.2f})" for r in mine}
            ]
        ),
    )


def _training(section: Section) -> Iterable[str]:
    rows, ceiling = section["rows"], section["machine"]["matmul_ceiling_gflops"]
    flops = {row["batch_size"]: row["flops"] for row in rows if row["contestant"] == "jaxmore"}
    sizes = sorted({row["batch_size"] for row in rows})
    yield "## Training the seeds' network\n"
    yield "12,297 parameters, hidden layer 200, SGD. ×7 means: jaxmore is 7 times as fast.\n"
    yield _steps(rows)
    yield (
        "At batch 32; and at the largest batch the share of the machine's ceiling for matrix\n"
        "products, with the FLOPs that jaxmore's gradient takes, whoever computes it:\n"
    )
    yield _table(
        ["", "steps a second", "to first step, s", "peak memory, MB", "share of the ceiling"],
        (
            [
                name,
                f"{mine[0]['steps_per_second']:,.0f}",
                f"{mine[0]['seconds_to_first_step']:.1f}",
                f"{mine[0]['peak_mb']:,.0f}",
                f"{flops[sizes[-1]] * mine[-1]['steps_per_second'] / 1e9 / ceiling:.0%}"
                if mine[-1]["batch_size"] == sizes[-1]
                else "",
            ]
            for name, mine in _by(rows, "contestant")
        ),
    )
    yield "One gradient by the compiler's own account (`cost_analysis`, `memory_analysis`):\n"
    accounts = [row for row in rows if row["flops"] is not None]
    yield _table(
        ["", *(f"batch {size:,}: MFLOP, temporary kB" for size in sizes)],
        (
            [
                name,
                *(f"{r['flops'] / 1e6:.1f}, {r['temporary_bytes'] / 1e3:,.0f}" for r in mine),
            ]
            for name, mine in _by(accounts, "contestant")
        ),
    )


def _evaluation(section: Section) -> Iterable[str]:
    yield "## Evaluating every training window\n"
    yield (
        "The mean loss of a trained seeds' network, each equal to NumPy's in float64 to 1e-6.\n"
        "Counting the distinct contexts is in jaxmore's time; PyTorch finds them counted.\n"
    )
    yield _times(section["rows"], "PyTorch")


def _sampling(section: Section) -> Iterable[str]:
    yield "## Sampling 10,000 names\n"
    yield "From the trained seeds' network, up to strings.\n"
    yield _times(section["rows"], "jaxmore")


def _times(rows: Rows, base: str) -> str:
    head = ["", "ms", f"time over {base}'s"]
    return _table(head, ([r["contestant"], f"{r['ms']:,.1f}", f"{r['ratio']:.3f}"] for r in rows))


def _startup(section: Section) -> Iterable[str]:
    yield "## Start-up\n"
    yield "Whole processes, timed from outside.\n"
    yield _table(["", "s"], ([row["what"], f"{row['seconds']:.2f}"] for row in section["rows"]))


def _ladder(section: Section) -> Iterable[str]:
    yield "## The other models\n"
    yield (
        "makemore.py's defaults (AdamW, width 64, batch 32, four layers and heads), then larger\n"
        'transformers on one long text (batch 32; 4 at T 1024). "Plain attention" is a\n'
        "transformer as JAX's users write it: the strongest jax.grad, for which jaxmore's blocks\n"
        "of attention are no good (autodiff must keep what jaxmore computes again).\n"
    )
    yield _table(
        ["", "", "µs a step", "ratio", "to first step, s", "peak, MB"],
        (
            [
                row["model"],
                row["contestant"],
                f"{row['us_per_step']:,.0f}",
                f"×{row['ratio']:.2f}",
                f"{row['seconds_to_first_step']:.1f}",
                f"{row['peak_mb']:,.0f}",
            ]
            for row in section["rows"]
        ),
    )


def _microgpt(section: Section) -> Iterable[str]:
    rows = section["rows"]
    sizes = sorted({row["batch_size"] for row in rows})
    yield "## microgpt\n"
    yield "4,192 parameters, Adam, float32, words padded to 16 places; the original has batch 1.\n"
    yield _table(
        ["", *(f"batch {size}: µs an example" for size in sizes)],
        (
            [name, *(f"{row['us_per_example']:,.1f} (×{row['ratio']:.2f})" for row in mine)]
            for name, mine in _by(rows, "contestant")
        ),
    )


def _memory(section: Section) -> Iterable[str]:
    gradients = [row for row in section["rows"] if "model" in row]
    yield "## Memory\n"
    yield (
        "One gradient of the models above, compiled and not run. Temporary memory and FLOPs are\n"
        "the compiler's account (`memory_analysis`, `cost_analysis`), in which a loop's body\n"
        "counts once; so the FLOPs of the matrix products alone, loops in full, stand beside\n"
        "them. A ratio is jaxmore's over the contestant's.\n"
    )
    yield _table(
        ["", "", "temporary MB", "ratio", "MFLOP", "ratio", "MFLOP of products", "ratio"],
        (
            [
                row["model"],
                row["contestant"],
                f"{row['temporary_bytes'] / 1e6:,.2f}",
                f"{mine[0]['temporary_bytes'] / row['temporary_bytes']:.2f}",
                f"{row['flops'] / 1e6:,.1f}",
                f"{mine[0]['flops'] / row['flops']:.2f}",
                f"{row['product_flops'] / 1e6:,.1f}",
                f"{mine[0]['product_flops'] / row['product_flops']:.2f}"
                if row["product_flops"]
                else "",
            ]
            for _, mine in _by(gradients, "model")
            for row in mine
        ),
    )
    yield (
        "What each rule keeps for its backward, parameters included, and what `jax.vjp` of its\n"
        "forward keeps, in bytes (float32; the arguments as `jaxmore check` writes them):\n"
    )
    yield _table(
        ["rule", "arguments", "residuals", "autodiff's"],
        (
            [
                row["rule"],
                f"`{row['arguments']}`",
                f"{row['residual_bytes']:,}",
                f"{row['autodiff_bytes']:,}",
            ]
            for row in section["rows"]
            if "rule" in row
        ),
    )


def _growth(section: Section) -> Iterable[str]:
    ceiling = section["machine"]["matmul_ceiling_gflops"]
    yield "## Growth\n"
    yield (
        "A training step's time per example, as one thing grows. The slope is the power over the\n"
        "last three values: 0 where the time stays, 1 where it doubles with the value. The share\n"
        "is that of the machine's ceiling for matrix products, which bounds a step where it is\n"
        "large. Where it is small, what is not a product does: at first the fixed cost of a step,\n"
        "which a larger batch spreads over more examples, then the memory that is moved.\n"
    )
    yield "![Time per example against each](images/growth.png)\n"
    yield _table(
        ["", "", "values", "µs per example", "slope", "share of the ceiling"],
        (
            [
                name,
                f"`{mine[0]['model']}`",
                ", ".join(f"{row['value']:,}" for row in mine),
                ", ".join(f"{row['us_per_example']:,.1f}" for row in mine),
                f"{slope(mine):.2f}",
                ", ".join(f"{_gflops(row) / ceiling:.0%}" for row in mine),
            ]
            for name, mine in by_axis(section["rows"]).items()
        ),
    )


def _gflops(row: dict[str, Any]) -> float:
    return row["product_flops_per_example"] / row["us_per_example"] / 1e3


def _forms(section: Section) -> Iterable[str]:
    yield "## Forms that XLA makes fast\n"
    yield (
        "Each of jaxmore's forms alone, beside the plain form of the same numbers, as XLA's CPU\n"
        "compiler makes them. A maximum that hands on a NaN is not vectorised. A product is slow\n"
        "where its result's last axis is the shortest. A sum into which an expensive function is\n"
        "fused is taken column by column. 15 exponentials are made one by one, and 16 at once.\n"
        '"jax.grad, same scan" has the same forward, so the maximum and the 16 rows too; its\n'
        "backward is autodiff's, with the plain product and the plain sum.\n"
    )
    yield _table(
        ["", "", "plain, µs", "jaxmore, µs", "ratio"],
        (
            [
                row["form"],
                row["shape"],
                f"{row['us_plain']:,.1f}",
                f"{row['us_jaxmore']:,.1f}",
                f"×{row['ratio']:.2f}",
            ]
            for row in section["rows"]
        ),
    )


def _speedrun(section: Section) -> Iterable[str]:
    yield "## The speedrun\n"
    yield (
        "From random weights to seed 001's best dev loss, 2.1103, with its network and its data.\n"
        "The clock runs from the words in memory to the exact dev loss, compilation included. In\n"
        "turns, each from other random weights; [speedrun.md](speedrun.md) tells what was tried.\n"
    )
    yield _table(
        ["", "s", "ratio", "dev: median, worst", "reached 2.1103"],
        (
            [
                row["run"],
                f"{row['seconds']:.2f}",
                f"×{row['ratio']:.1f}",
                f"{statistics.median(row['dev']):.4f}, {max(row['dev']):.4f}",
                f"{row['reached']} of {len(row['dev'])}",
            ]
            for row in section["rows"]
        ),
    )


def _budget(section: Section) -> Iterable[str]:
    yield "## The smallest dev loss in a minute, and in ten\n"
    yield (
        "makemore.py's transformer, 204,544 parameters, on the seeds' split, by Muon with a\n"
        "cosine, timed as the speedrun. The train loss is that of the last 1,000 batches, with\n"
        "dropout. One seed each; steps and dropout are fitted to the time and to this machine.\n"
    )
    yield _table(
        ["budget", "s", "steps", "dropout", "train", "dev"],
        (
            [
                f"{row['budget']} s",
                f"{row['seconds']:.1f}" + " (over)" * (row["seconds"] > row["budget"]),
                f"{row['steps']:,}",
                f"{row['dropout']:.1f}",
                f"{row['train']:.4f}",
                f"{row['dev']:.4f}",
            ]
            for row in section["rows"]
        ),
    )


TABLES: dict[str, Callable[[Section], Iterable[str]]] = {
    "training": _training,
    "evaluation": _evaluation,
    "sampling": _sampling,
    "startup": _startup,
    "ladder": _ladder,
    "microgpt": _microgpt,
    "memory": _memory,
    "growth": _growth,
    "forms": _forms,
    "speedrun": _speedrun,
    "budget": _budget,
}
"""The sections in the order of the page."""


def _by(rows: Rows, key: str) -> Iterable[tuple[str, list[dict[str, Any]]]]:
    for value in dict.fromkeys(row[key] for row in rows):
        yield value, [row for row in rows if row[key] == value]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _measured(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items() if v)
    return (
        f"{machine['date']}, {machine['rounds']}; {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gb']} GB, load {machine['load_before']} before; "
        f"device {machine['device']}, "
        f"matrix products in {machine['matmul_precision']}, ceiling "
        f"{machine['matmul_ceiling_gflops']} GFLOPS; Python {machine['python']}, {versions}.\n"
    )
