"""The tables of each section of docs/benchmarks.md, its columns side by side."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from benchmarks.columns import Section, column
from benchmarks.growth import by_axis, slope

Row = dict[str, Any]
Rows = Sequence[Row]
Columns = Sequence[Section]


def training(columns: Columns) -> Iterable[str]:
    keys = ["contestant"]
    sizes = _batch_sizes(columns)
    for size in sizes:
        yield f"Microseconds a step at batch {size:,}:\n"
        yield across(columns, keys, _time("us_per_step", ".1f"), partial(_at, size))
    smallest, largest = sizes[0], sizes[-1]
    yield f"Seconds to the first step at batch {smallest}:\n"
    yield across(columns, keys, _seconds_to_first_step, partial(_at, smallest))
    yield f"Peak memory in MB at batch {smallest}:\n"
    yield across(columns, keys, _peak_mb, partial(_at, smallest))
    yield (
        f"The share of the machine's ceiling for matrix products at batch {largest:,}. It counts\n"
        "the FLOPs of jaxmore's gradient for every contestant:\n"
    )
    yield across(columns, keys, lambda row: f"{row['share']:.0%}", partial(_shares, largest))
    for section in columns:
        yield from _floor(_shares(largest, section), section)
    yield from _account(columns, ["batch_size", "contestant"])


def evaluation(columns: Columns) -> Iterable[str]:
    yield "Milliseconds (×: over PyTorch's time):\n"
    yield across(columns, ["contestant"], _time("ms", ".1f"))


def sampling(columns: Columns) -> Iterable[str]:
    yield "Milliseconds:\n"
    yield across(columns, ["contestant"], _time("ms", ".1f"))


def startup(columns: Columns) -> Iterable[str]:
    yield "Seconds:\n"
    yield across(columns, ["what"], lambda row: f"{row['seconds']:.2f}")


def ladder(columns: Columns) -> Iterable[str]:
    yield "The geometric mean of the ratios of a contestant's models, and the smallest:\n"
    yield across(
        columns,
        ["contestant"],
        lambda row: f"×{row['mean']:.2f} (×{row['smallest']:.2f})",
        _means,
    )
    keys = ["model", "contestant"]
    yield "Microseconds a step:\n"
    yield across(columns, keys, _time("us_per_step", ".0f"))
    yield "Seconds to the first step:\n"
    yield across(columns, keys, _seconds_to_first_step)
    yield "Peak memory in MB:\n"
    yield across(columns, keys, _peak_mb)


def microgpt(columns: Columns) -> Iterable[str]:
    keys = ["contestant"]
    for size in _batch_sizes(columns):
        yield f"Microseconds an example at batch {size}:\n"
        yield across(columns, keys, _time("us_per_example", ".1f"), partial(_at, size))
        yield f"Test losses at batch {size}:\n"
        yield across(columns, keys, _losses, partial(_at, size))


def memory(columns: Columns) -> Iterable[str]:
    yield from _account(columns, ["model", "contestant"])
    yield (
        "The bytes that each rule saves for its backward function, and those that `jax.vjp` of\n"
        "its forward function saves. Both include the parameters (float32; the arguments are\n"
        "written as in `jaxmore check`):\n"
    )
    yield across(
        columns,
        ["rule", "arguments"],
        lambda row: f"{row['residual_bytes']:,} (autodiff {row['autodiff_bytes']:,})",
        _residuals,
    )


def growth(columns: Columns) -> Iterable[str]:
    yield "Slopes:\n"
    yield across(columns, ["axis", "model"], lambda row: f"{row['slope']:.2f}", _slopes)
    yield "Microseconds an example (share of the ceiling):\n"
    yield across(
        columns,
        ["axis", "value"],
        lambda row: f"{row['us_per_example']:,.1f} ({row['share']:.0%})",
        _growth_shares,
    )


def forms(columns: Columns) -> Iterable[str]:
    yield "Microseconds of the plain form → of jaxmore's (×: the first over the second):\n"
    yield across(
        columns,
        ["form", "shape"],
        lambda row: f"{row['us_plain']:,.1f} → {row['us_jaxmore']:,.1f} (×{row['ratio']:.2f})",
    )


def records(columns: Columns) -> Iterable[str]:
    yield "Seconds (×: over the record's); the dev loss, its mean and its worst; the seeds:\n"
    yield across(
        columns,
        ["track", "run"],
        lambda row: (
            f"{row['seconds']:.2f} (×{row['ratio']:.1f}); {statistics.mean(row['dev']):.4f}, "
            f"{max(row['dev']):.4f}; {len(row['dev'])}"
        ),
    )


def across(
    columns: Columns,
    keys: Sequence[str],
    cell: Callable[[Row], str],
    rows: Callable[[Section], Rows] = lambda section: section["rows"],
) -> str:
    """Return a table with a line for each value of the keys and a cell for each column."""
    cells = [
        {tuple(_name(row[key]) for key in keys): cell(row) for row in rows(section)}
        for section in columns
    ]
    lines = dict.fromkeys(values for its in cells for values in its)
    return table(
        [*(key.replace("_", " ") for key in keys), *(column(its["machine"]) for its in columns)],
        ([*values, *(its.get(values, "") for its in cells)] for values in lines),
        n_keys=len(keys),
    )


def _name(value: str | int) -> str:
    return f"{value:,}" if isinstance(value, int) else value


def _time(unit: str, digits: str) -> Callable[[Row], str]:
    return lambda row: f"{row[unit]:,{digits}} (×{row['ratio']:,.2f})"


def _seconds_to_first_step(row: Row) -> str:
    return f"{row['seconds_to_first_step']:.1f}"


def _peak_mb(row: Row) -> str:
    return f"{row['peak_mb']:,.0f}"


def _losses(row: Row) -> str:
    return ", ".join(f"{loss:.3f} ({seconds} s)" for seconds, loss in row["losses"].items())


def _batch_sizes(columns: Columns) -> list[int]:
    return sorted({row["batch_size"] for section in columns for row in section["rows"]})


def _at(size: int, section: Section) -> Rows:
    return [row for row in section["rows"] if row["batch_size"] == size]


def _shares(size: int, section: Section) -> Rows:
    """Return the rows of a batch size with their shares of the ceiling."""
    rows, ceiling = _at(size, section), section["machine"]["matmul_ceiling_gflops"]
    return [
        row | {"share": rows[0]["flops"] * row["steps_per_second"] / 1e9 / ceiling}  # jaxmore's
        for row in rows
    ]


def _floor(largest: Rows, section: Section) -> Iterable[str]:
    """Say of a column whether C is the floor there, if it ran."""
    c_by_hand = [row for row in section["rows"] if row["contestant"] == "C by hand"]
    for row in largest:
        if row["contestant"] == "C by hand":
            ceiling = section["machine"]["matmul_ceiling_gflops"]
            tiles = largest[0]["product_flops"] / row["products_us"] / 1e3 / ceiling
            verdict = floor_of(tiles, row["share"], max(its["ratio"] for its in c_by_hand))
            yield f"{column(section['machine'])}: {verdict}\n"


def floor_of(tiles: float, share: float, slowest: float) -> str:
    """Say whether C is the floor: its tiles fill the machine, and it is never half as fast as ours.

    Args:
        tiles: the share of the ceiling that its matrix products reach alone, at the largest batch.
        share: that of its whole step, by the count of the table.
        slowest: the largest of its times over jaxmore's.
    """
    reached = (
        f"at the largest batch its matrix products by themselves reach {tiles:.1%} of the "
        f"ceiling, and its whole step {share:.0%}."
    )
    if slowest > 2:
        return (
            f"C by hand is no floor here, as it takes ×{slowest:.1f} jaxmore's time at one batch "
            f"size: {reached}"
        )
    if tiles < 0.8:
        return f"C by hand is no floor here, as a floor should fill 80% of the machine: {reached}"
    return f"C by hand is the floor: {reached}"


def _means(section: Section) -> Rows:
    return [
        {
            "contestant": name,
            "mean": statistics.geometric_mean(row["ratio"] for row in mine),
            "smallest": min(row["ratio"] for row in mine),
        }
        for name, mine in by(section["rows"], "contestant")
    ]


def _account(columns: Columns, keys: Sequence[str]) -> Iterable[str]:
    """Compare the compiler's accounts of a gradient."""
    yield "Temporary memory of a gradient, in MB:\n"
    yield across(columns, keys, _in_millions("temporary_bytes", ".2f"), _gradients)
    yield "MFLOP of a gradient:\n"
    yield across(columns, keys, _in_millions("flops", ".1f"), _gradients)
    yield "MFLOP of its matrix products:\n"
    yield across(columns, keys, _in_millions("product_flops", ".1f"), _gradients)


def _in_millions(figure: str, digits: str) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        relative = f" (×{row[figure] / row['ours'][figure]:.2f})" if row["ours"][figure] else ""
        return f"{row[figure] / 1e6:,{digits}}{relative}"

    return cell


def _gradients(section: Section) -> Rows:
    """Return the rows with an account, each with jaxmore's beside it."""
    rows = [row for row in section["rows"] if row.get("flops") is not None]
    key = "model" if "model" in rows[0] else "batch_size"
    return [row | {"ours": mine[0]} for _, mine in by(rows, key) for row in mine]


def _residuals(section: Section) -> Rows:
    rules = [row for row in section["rows"] if "rule" in row]
    return [row | {"arguments": f"`{row['arguments']}`"} for row in rules]


def _slopes(section: Section) -> Rows:
    return [
        {"axis": name, "model": mine[0]["model"], "slope": slope(mine)}
        for name, mine in by_axis(section["rows"]).items()
    ]


def _growth_shares(section: Section) -> Rows:
    ceiling = section["machine"]["matmul_ceiling_gflops"]
    return [
        row | {"share": row["product_flops_per_example"] / row["us_per_example"] / 1e3 / ceiling}
        for row in section["rows"]
    ]


def by(rows: Rows, key: str) -> Iterable[tuple[str, list[Row]]]:
    for value in dict.fromkeys(row[key] for row in rows):
        yield value, [row for row in rows if row[key] == value]


def table(head: Sequence[str], rows: Iterable[Sequence[str]], n_keys: int = 1) -> str:
    """Return a table in Markdown; all but its first ``n_keys`` columns are aligned to the right."""
    lines = [head, ["---"] * n_keys + ["---:"] * (len(head) - n_keys), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
