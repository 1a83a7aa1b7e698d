"""docs/images/benchmarks.png: steps a second of the seeds' network."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure


def training_figure(rows: Sequence[dict[str, Any]]) -> Figure:
    """A panel for each batch size, a bar for each contestant, with a step's time over jaxmore's."""
    sizes = sorted({row["batch_size"] for row in rows})
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    panels = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    for axes, size in zip(panels, sizes, strict=True):
        mine = [row for row in rows if row["batch_size"] == size]
        names = [row["contestant"] for row in mine]
        colours = ["tab:orange" if name == "jaxmore" else "tab:blue" for name in names]
        bars = axes.barh(names, [row["steps_per_second"] for row in mine], color=colours)
        axes.bar_label(bars, [f"×{row['ratio']:.2f}" for row in mine], padding=2, fontsize=8)
        axes.set(title=f"batch {size:,}", xlabel="steps a second")
        axes.margins(x=0.25)
        axes.invert_yaxis() if axes is panels[0] else None
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle("Training the seeds' network (×: time of a step over jaxmore's)")
    return figure
