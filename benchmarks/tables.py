"""The tables of each section of docs/benchmarks.md."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.columns import Section
from benchmarks.growth import by_axis, slope

Rows = Sequence[dict[str, Any]]


def _steps(rows: Rows) -> str:
    sizes = sorted({row["batch_size"] for row in rows})
    return table(
        ["", *(f"batch {size:,}: µs a step" for size in sizes)],
        (
            [name, *(cells.get(size, "") for size in sizes)]
            for name, mine in by(rows, "contestant")
            for cells in [
                {r["batch_size"]: f"{r['us_per_step']:,.1f} (×{r['ratio']:.2f})" for r in mine}
            ]
        ),
    )


def _training(section: Section) -> Iterable[str]:
    rows, ceiling = section["rows"], section["machine"]["matmul_ceiling_gflops"]
    sizes = sorted({row["batch_size"] for row in rows})
    (ours,) = (
        row for row in rows if row["contestant"] == "jaxmore" and row["batch_size"] == sizes[-1]
    )
    yield _steps(rows)
    yield (
        "At batch 32, and at the largest batch the share of the machine's ceiling for matrix\n"
        "products. The share counts the FLOPs of jaxmore's gradient for every contestant:\n"
    )
    yield table(
        ["", "steps a second", "to first step, s", "peak memory, MB", "share of the ceiling"],
        (
            [
                name,
                f"{mine[0]['steps_per_second']:,.0f}",
                f"{mine[0]['seconds_to_first_step']:.1f}",
                f"{mine[0]['peak_mb']:,.0f}",
                f"{ours['flops'] * mine[-1]['steps_per_second'] / 1e9 / ceiling:.0%}"
                if mine[-1]["batch_size"] == sizes[-1]
                else "",
            ]
            for name, mine in by(rows, "contestant")
        ),
    )
    if c_by_hand := [row for row in rows if row["contestant"] == "C by hand"]:
        whole = ours["flops"] * c_by_hand[-1]["steps_per_second"] / 1e9 / ceiling
        tiles = ours["product_flops"] / c_by_hand[-1]["products_us"] / 1e3 / ceiling
        yield floor_of(tiles, whole, max(row["ratio"] for row in c_by_hand)) + "\n"
    yield "The compiler's account of one gradient (`cost_analysis`, `memory_analysis`):\n"
    accounts = [row for row in rows if row["flops"] is not None]
    yield table(
        ["", *(f"batch {size:,}: MFLOP, temporary kB" for size in sizes)],
        (
            [
                name,
                *(f"{r['flops'] / 1e6:.1f}, {r['temporary_bytes'] / 1e3:,.0f}" for r in mine),
            ]
            for name, mine in by(accounts, "contestant")
        ),
    )


def floor_of(tiles: float, share: float, slowest: float) -> str:
    """Say whether C is the floor: its tiles fill the machine, and it is never half as fast as ours.

    Args:
        tiles: the share of the ceiling that its matrix products reach alone, at the largest batch.
        share: that of its whole step, by the count of the table.
        slowest: the largest of its times over jaxmore's.
    """
    reached = (
        f"at the largest batch its matrix products by themselves reach {tiles:.0%} of the ceiling, "
        f"and its whole step {share:.0%}."
    )
    if slowest > 2:
        return (
            f"C by hand is no floor here, as it takes ×{slowest:.1f} jaxmore's time at one batch "
            f"size: {reached}"
        )
    if tiles < 0.8:
        return f"C by hand is no floor here, as a floor should fill 80% of the machine: {reached}"
    return f"C by hand is the floor: {reached}"


def _evaluation(section: Section) -> Iterable[str]:
    yield _times(section["rows"], "PyTorch")


def _sampling(section: Section) -> Iterable[str]:
    yield _times(section["rows"], "jaxmore")


def _times(rows: Rows, base: str) -> str:
    head = ["", "ms", f"time over {base}'s"]
    return table(head, ([r["contestant"], f"{r['ms']:,.1f}", f"{r['ratio']:.3f}"] for r in rows))


def _startup(section: Section) -> Iterable[str]:
    yield table(["", "s"], ([row["what"], f"{row['seconds']:.2f}"] for row in section["rows"]))


def _ladder(section: Section) -> Iterable[str]:
    yield table(
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
    for size in sizes:
        yield table(
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
    yield table(
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
            for _, mine in by(gradients, "model")
            for row in mine
        ),
    )
    yield (
        "The bytes that each rule saves for its backward function, and those that `jax.vjp` of\n"
        "its forward function saves. Both include the parameters (float32; the arguments are\n"
        "written as in `jaxmore check`):\n"
    )
    yield table(
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
    yield "![Time per example against each](images/growth.png)\n"
    yield table(
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
    yield table(
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


def _records(section: Section) -> Iterable[str]:
    for _, rows in by(section["rows"], "track"):
        yield table(
            ["", "s", "ratio", "dev: mean, worst", "seeds"],
            (
                [
                    f"`{row['run']}`",
                    f"{row['seconds']:.2f}",
                    f"×{row['ratio']:.1f}",
                    f"{statistics.mean(row['dev']):.4f}, {max(row['dev']):.4f}",
                    str(len(row["dev"])),
                ]
                for row in rows
            ),
        )


TABLES: dict[str, tuple[str, str, Callable[[Section], Iterable[str]]]] = {
    "training": (
        "Training the seeds' network",
        ("12,297 parameters, hidden layer 200, SGD. ×7 means that jaxmore is 7 times as\nfast.\n"),
        _training,
    ),
    "evaluation": (
        "Evaluating every training window",
        (
            "The mean loss of the trained network of the notebooks. Every result equals\n"
            "NumPy's in float64 to 1e-6. jaxmore's time includes counting the distinct\n"
            "contexts; PyTorch receives the counts.\n"
        ),
        _evaluation,
    ),
    "sampling": (
        "Sampling 10,000 names",
        ("From the trained network of the notebooks to a list of strings.\n"),
        _sampling,
    ),
    "startup": (
        "Start-up",
        ("Whole processes, timed from the outside.\n"),
        _startup,
    ),
    "ladder": (
        "The other models",
        (
            "makemore.py's defaults (AdamW, width 64, batch 32, four layers and heads), then\n"
            'larger transformers on one long text (batch 32, or 4 at T 1024). "Plain\n'
            'attention" is a transformer as JAX users write it. It is the fastest jax.grad:\n'
            "autodiff gains nothing from jaxmore's blocks of attention, since it saves what\n"
            "jaxmore recomputes.\n"
        ),
        _ladder,
    ),
    "microgpt": (
        "microgpt",
        (
            "4,192 parameters, Adam, float32. The original is scalar autograd in pure Python,\n"
            "a word a step. C runs on one core and skips what pads a word to 16 places. The\n"
            "losses are test losses after some seconds of training, compilation apart, with a\n"
            "learning rate that goes down to zero at their end. All take the same steps, so a\n"
            "loss is that of `jaxmore train` with as many steps as the contestant takes in\n"
            "the time.\n"
        ),
        _microgpt,
    ),
    "memory": (
        "Memory",
        (
            "One gradient of each model above, compiled but not run. The compiler reports\n"
            "temporary memory and FLOPs (`memory_analysis`, `cost_analysis`) and counts the\n"
            "body of a loop once. A further column therefore gives the FLOPs of the matrix\n"
            "products alone, with every iteration of a loop. A ratio is jaxmore's figure over\n"
            "the contestant's.\n"
        ),
        _memory,
    ),
    "growth": (
        "Growth",
        (
            "The time of a training step per example, while one size grows. The slope is the\n"
            "exponent over the last three values: 0 means that the time does not change, 1\n"
            "that it doubles with the size. The share is that of the machine's ceiling for\n"
            "matrix products. A large share means that matrix products bound the step. Where\n"
            "the share is small, something else does: first the fixed cost of a step, which a\n"
            "larger batch spreads over more examples, later the memory traffic.\n"
        ),
        _growth,
    ),
    "forms": (
        "Forms that XLA makes fast",
        (
            "Each form that jaxmore chose, beside the plain form that computes the same\n"
            "numbers, both compiled by XLA for the CPU. XLA does not vectorise a maximum that\n"
            "propagates NaN. A matrix product is slow if the last axis of its result is the\n"
            "shortest. A sum is computed column by column if an expensive function is fused\n"
            'into it. XLA computes 15 exponentials one by one, but 16 at once. "jax.grad,\n'
            'same scan" has the same forward function, hence also the maximum and the 16\n'
            "rows; autodiff gives its backward function the plain product and the plain sum.\n"
        ),
        _forms,
    ),
    "speedrun": (
        "The speedrun",
        (
            "The time from random weights to the best dev loss of notebook 001, 2.1103, with\n"
            "its network and its data. The clock starts when the words are in memory and\n"
            "stops at the exact dev loss; it includes compilation. The record and its baseline\n"
            "take turns, each time from new random weights. [speedrun.md](speedrun.md) is the\n"
            "leaderboard.\n"
        ),
        _records,
    ),
    "budget": (
        "The smallest dev loss in a minute, and in ten",
        (
            "Any model with gradients derived by hand, on the notebooks' split, timed like\n"
            "the speedrun. [speedrun.md](speedrun.md) is the leaderboard.\n"
        ),
        _records,
    ),
}
"""The title of each section, how to read it, and its tables, in the order of the page."""


def by(rows: Rows, key: str) -> Iterable[tuple[str, list[dict[str, Any]]]]:
    for value in dict.fromkeys(row[key] for row in rows):
        yield value, [row for row in rows if row[key] == value]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
