"""Writes docs/benchmarks.md: the results as tables, and how to read them."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.growth import by_axis, slope

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
    yield "12,297 parameters, hidden layer 200, SGD. ×7 means that jaxmore is 7 times as fast.\n"
    yield _steps(rows)
    yield (
        "At batch 32, and at the largest batch the share of the machine's ceiling for matrix\n"
        "products. The share counts the FLOPs of jaxmore's gradient for every contestant:\n"
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
    yield "The compiler's account of one gradient (`cost_analysis`, `memory_analysis`):\n"
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
        "The mean loss of the trained network of the notebooks. Every result equals NumPy's in\n"
        "float64 to 1e-6. jaxmore's time includes counting the distinct contexts; PyTorch\n"
        "receives the counts.\n"
    )
    yield _times(section["rows"], "PyTorch")


def _sampling(section: Section) -> Iterable[str]:
    yield "## Sampling 10,000 names\n"
    yield "From the trained network of the notebooks to a list of strings.\n"
    yield _times(section["rows"], "jaxmore")


def _times(rows: Rows, base: str) -> str:
    head = ["", "ms", f"time over {base}'s"]
    return _table(head, ([r["contestant"], f"{r['ms']:,.1f}", f"{r['ratio']:.3f}"] for r in rows))


def _startup(section: Section) -> Iterable[str]:
    yield "## Start-up\n"
    yield "Whole processes, timed from the outside.\n"
    yield _table(["", "s"], ([row["what"], f"{row['seconds']:.2f}"] for row in section["rows"]))


def _ladder(section: Section) -> Iterable[str]:
    yield "## The other models\n"
    yield (
        "makemore.py's defaults (AdamW, width 64, batch 32, four layers and heads), then larger\n"
        'transformers on one long text (batch 32, or 4 at T 1024). "Plain attention" is a\n'
        "transformer as JAX users write it. It is the fastest jax.grad: autodiff gains nothing\n"
        "from jaxmore's blocks of attention, since it saves what jaxmore recomputes.\n"
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
    yield (
        "4,192 parameters, Adam, float32. The original is scalar autograd in pure Python, a word\n"
        "a step. C runs on one core and skips what pads a word to 16 places. The losses are test\n"
        "losses after some seconds of training, compilation apart, with a learning rate that goes\n"
        "down to zero at their end. All take the same steps, so a loss is that of `jaxmore train`\n"
        "with as many steps as the contestant takes in the time.\n"
    )
    for size in sizes:
        yield _table(
            [f"batch {size}", "µs an example", *(f"loss after {s} s" for s in rows[0]["losses"])],
            (
                [
                    row["contestant"],
                    f"{row['us_per_example']:,.1f} (×{row['ratio']:,.2f})",
                    *(f"{loss:.3f}" for loss in row["losses"].values()),
                ]
                for row in rows
                if row["batch_size"] == size
            ),
        )


def _memory(section: Section) -> Iterable[str]:
    gradients = [row for row in section["rows"] if "model" in row]
    yield "## Memory\n"
    yield (
        "One gradient of each model above, compiled but not run. The compiler reports temporary\n"
        "memory and FLOPs (`memory_analysis`, `cost_analysis`) and counts the body of a loop\n"
        "once. A further column therefore gives the FLOPs of the matrix products alone, with\n"
        "every iteration of a loop. A ratio is jaxmore's figure over the contestant's.\n"
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
        "The bytes that each rule saves for its backward function, and those that `jax.vjp` of\n"
        "its forward function saves. Both include the parameters (float32; the arguments are\n"
        "written as in `jaxmore check`):\n"
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
        "The time of a training step per example, while one size grows. The slope is the\n"
        "exponent over the last three values: 0 means that the time does not change, 1 that it\n"
        "doubles with the size. The share is that of the machine's ceiling for matrix products.\n"
        "A large share means that matrix products bound the step. Where the share is small,\n"
        "something else does: first the fixed cost of a step, which a larger batch spreads over\n"
        "more examples, later the memory traffic.\n"
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
        "Each form that jaxmore chose, beside the plain form that computes the same numbers,\n"
        "both compiled by XLA for the CPU. XLA does not vectorise a maximum that propagates\n"
        "NaN. A matrix product is slow if the last axis of its result is the shortest. A sum is\n"
        "computed column by column if an expensive function is fused into it. XLA computes 15\n"
        'exponentials one by one, but 16 at once. "jax.grad, same scan" has the same forward\n'
        "function, hence also the maximum and the 16 rows; autodiff gives its backward function\n"
        "the plain product and the plain sum.\n"
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
        "The time from random weights to the best dev loss of notebook 001, 2.1103, with its\n"
        "network and its data. The clock starts when the words are in memory and stops at the\n"
        "exact dev loss; it includes compilation. The two contestants take turns, each time\n"
        "from new random weights. [speedrun.md](speedrun.md) lists what was tried.\n"
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
        "makemore.py's transformer, 204,544 parameters, on the notebooks' split, trained by\n"
        "Muon with a cosine schedule and timed like the speedrun. The train loss is the mean\n"
        "over the last 1,000 batches, with dropout. One seed each. The number of steps and the\n"
        "dropout rate were chosen for the time limit and this machine.\n"
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
