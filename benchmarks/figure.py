"""Figures in docs/images: steps per second of the seeds' network, and time per example."""

from collections.abc import Sequence

from benchmarks.columns import Section, column
from benchmarks.growth import by_axis, slope
from jaxmore.plots import Picture

COMPARED = 32
"""The batch size that the figure of training shows."""


def training_figure(columns: Sequence[Section]) -> Picture:
    """Draw a panel per column, a bar per contestant, and its time over jaxmore's."""
    n_across = min(4, len(columns))
    n_down = -(-len(columns) // n_across)
    figure = Picture(figsize=(13, 0.4 + 3.2 * n_down), layout="constrained")
    panels = [*figure.subplots(n_down, n_across, sharex=True, sharey=True, squeeze=False).flat]
    for axes, section in zip(panels, columns, strict=False):
        mine = [row for row in section["rows"] if row["batch_size"] == COMPARED]
        names = [row["contestant"] for row in mine]
        colours = ["tab:orange" if name == "jaxmore" else "tab:blue" for name in names]
        bars = axes.barh(names, [row["steps_per_second"] for row in mine], color=colours)
        axes.bar_label(bars, [f"×{row['ratio']:.2f}" for row in mine], padding=2, fontsize=8)
        axes.set_title(column(section["machine"]), fontsize="small")
        axes.margins(x=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()
    for axes in panels[len(columns) :]:
        axes.set_axis_off()
    figure.supxlabel("steps a second")
    figure.suptitle(
        f"Training the seeds' network at batch {COMPARED} (×: time of a step over jaxmore's)"
    )
    return figure


def growth_figure(columns: Sequence[Section]) -> Picture:
    """Draw a panel per axis: the time per example, and the time of its matrix products alone.

    Of several columns the one that was measured last.
    """
    section = max(columns, key=lambda its: its["machine"]["date"])
    ceiling_gflops = section["machine"]["matmul_ceiling_gflops"]
    figure = Picture(figsize=(12, 3.2), layout="constrained")
    axes_of_rows = by_axis(section["rows"])
    panels = figure.subplots(1, len(axes_of_rows), sharey=True, squeeze=False)[0]
    for axes, (name, mine) in zip(panels, axes_of_rows.items(), strict=True):
        values = [row["value"] for row in mine]
        products = [row["product_flops_per_example"] / ceiling_gflops / 1e3 for row in mine]
        axes.loglog(values, [row["us_per_example"] for row in mine], "o-", color="tab:orange")
        axes.loglog(values, products, "--", color="tab:blue")
        axes.set(title=f"{mine[0]['model']}, slope {slope(mine):.2f}", xlabel=name)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("µs per example")
    figure.suptitle(column(section["machine"]), fontsize="small")
    figure.legend(
        panels[0].lines,
        ["a step of training", "its matrix products alone, at the machine's ceiling"],
        loc="outside lower center",
        ncols=2,
    )
    return figure
