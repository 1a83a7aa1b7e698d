"""Writes gpu.md: what was measured on a card, as tables."""

from typing import Any

from benchmarks.tables import table


def write_report(parts: dict[str, dict[str, Any]]) -> str:
    """Return the page; ``parts`` is as in gpu.json."""
    text = ["# On a GPU\n", "Written by `python -m benchmarks.gpu`, with gpu.json beside it.\n"]
    for name, part in parts.items():
        machine = part["machine"]
        versions = ", ".join(f"{package} {v}" for package, v in machine["versions"].items() if v)
        text += [f"## {TITLES[name]}\n", INTRODUCTIONS[name], TABLES[name](part["rows"])]
        text.append(
            f"{machine['date']}, {part['rounds']}; {machine['device']}; {machine['cpu']}, "
            f"{machine['cores']} cores; Python {machine['python']}, {versions}; "
            f"{part['seconds']:.0f} s: {part['status']}.\n"
        )
    return "\n".join(text)


def _commands(rows: list[dict[str, Any]]) -> str:
    return table(
        ["", "s", "", ""],
        (
            [
                row["command"],
                _cell(row, "seconds", "{:.0f}"),
                row.get("note", "passed"),
                _cell(row, "last_line"),
            ]
            for row in rows
        ),
    )


def _sweeps(rows: list[dict[str, Any]]) -> str:
    return table(
        ["runs at once", "steps each", "s", "s a run", ""],
        (
            [
                f"{row['runs']:,}",
                f"{row['steps']:,}",
                _cell(row, "seconds", "{:.1f}"),
                _cell(row, "seconds_a_run", "{:.3f}"),
                row.get("note", "passed"),
            ]
            for row in rows
        ),
    )


def _contests(rows: list[dict[str, Any]]) -> str:
    head = ["", "", "products in", "µs a step", "ratio", "to first step, s", "peak, MB", "of peak"]
    return table(
        [*head, ""],
        (
            [
                row["case"],
                row["contestant"],
                row["precision"],
                _cell(row, "us_per_step", "{:,.1f}"),
                _cell(row, "ratio", "×{:.2f}"),
                _cell(row, "seconds_to_first_step", "{:.1f}"),
                _cell(row, "peak_mb", "{:,.0f}"),
                _cell(row, "share_of_peak", "{:.1%}"),
                _cell(row, "note"),
            ]
            for row in rows
        ),
    )


def _profile(rows: list[dict[str, Any]]) -> str:
    of = f"{rows[0]['case']}, beside {rows[0]['beside']}:\n\n" if rows else ""
    return of + table(
        ["kernel", "ms", "of these"],
        (
            [f"`{row['kernel'][:80]}`".replace("|", "/"), f"{row['ms']:.2f}", f"{row['share']:.0%}"]
            for row in rows
        ),
    )


def _cell(row: dict[str, Any], key: str, form: str = "{}") -> str:
    """Return a cell, empty if the row does not have it."""
    return form.format(row[key]).replace("|", "/") if key in row else ""


TITLES = {
    "gradients": "The gradients",
    "training": "Training the seeds' network",
    "transformers": "Transformers",
    "ladder": "The other models",
    "sweep": "Sweeps",
    "profile": "A profile of the smallest ratio",
}
CONTEST = """Each contestant trains alone on the card, in its own process. A time is the median of
its runs, a ratio that of the medians. One process takes all batch sizes of a network, the smallest
first: its time to the first step includes the start of the card, and memory is the peak so far. The
share is that of the card's published dense peak, if we know it, from the products of one forward
and one backward pass without recomputation. JAX multiplies float32 with precision `highest`, TF32
with `default`: XLA may then use TF32 in all its kernels, but need not. In bfloat16 the parameters
stay in float32 (PyTorch: autocast), and products that remain in float32 are as in TF32.
"""
INTRODUCTIONS = {
    "gradients": (
        "`jaxmore check` compares the 26 cotangents of the notebooks' network, in float32 and in\n"
        "float64. The tests are those of `make test`, with float32 products in float32.\n"
    ),
    "training": CONTEST,
    "transformers": CONTEST,
    "ladder": CONTEST,
    "sweep": "Whole commands, compilation and evaluation included; float32 products in float32.\n",
    "profile": (
        "jaxmore where its time is the longest beside a peer's: the time of the kernels in a run,\n"
        "and their shares of the time of those shown.\n"
    ),
}
TABLES = {
    "gradients": _commands,
    "training": _contests,
    "transformers": _contests,
    "ladder": _contests,
    "sweep": _sweeps,
    "profile": _profile,
}
