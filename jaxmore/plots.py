"""Figures, drawn with matplotlib's object interface: no display, no global state."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def loss_curve(
    steps: Sequence[int],
    losses: Sequence[float],
    update_to_data: Sequence[Mapping[str, float]],
    results: Mapping[str, float],
) -> Figure:
    """The training loss over the steps, and how large each parameter's updates were.

    Args:
        steps: the last step of every chunk.
        losses: the mean loss of every chunk, nats per character.
        update_to_data: log10 of std(update) / std(parameter) after every chunk, by path; a path
            may be missing where it was not finite.
        results: the final loss of each split, by name.
    """
    figure = Figure(figsize=(8, 7), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    above.plot(steps, losses, linewidth=1, label="batches (mean of a chunk)")
    for (name, loss), style in zip(results.items(), ("--", "-.", ":"), strict=False):
        above.axhline(loss, linestyle=style, linewidth=1, color="black", label=f"{name} {loss:.4f}")
    above.set(ylabel="loss (nats per character)")
    above.legend()
    for path in dict.fromkeys(path for ratios in update_to_data for path in ratios):
        heights = [ratios.get(path, math.nan) for ratios in update_to_data]
        below.plot(steps, heights, linewidth=1, label=path)
    below.axhline(-3, linewidth=1, color="black", linestyle="--")
    below.xaxis.set_major_formatter("{x:,.0f}")
    below.set(xlabel="step", ylabel="log10 of std(update) / std(parameter)")
    below.legend(fontsize="small", ncols=2)
    return figure


def learning_rate_curve(rates: Any, losses: Any, smoothed: Any, suggested: float) -> Figure:
    """The loss against the learning rate of a sweep, and the rate that it suggests."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses, linewidth=0.5, alpha=0.5, label="batch")
    axes.plot(rates, smoothed, linewidth=2, label="running median")
    axes.axvline(suggested, color="black", linestyle="--", label=f"suggested: {suggested:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss (nats per character)")
    axes.set_ylim(top=float(losses[0]) * 1.2)
    axes.legend()
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG."""
    figure.savefig(path, dpi=120)
