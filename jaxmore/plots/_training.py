"""Figures of training: losses, update-to-parameter ratios, learning rates, sweeps."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps, rcParams
from matplotlib.ticker import MaxNLocator

from jaxmore.plots._picture import Picture

RESULTS = (("s", 11), ("o", 7), ("^", 4))
"""Marker and size for the final loss of each split."""


def loss_curve(
    steps: Sequence[int],
    losses: Sequence[float],
    update_to_data: Sequence[Mapping[str, float]],
    results: Mapping[str, float],
    title: str = "",
) -> Picture:
    """Plot the training loss and the update-to-parameter ratios over the steps.

    Args:
        steps: the last step of every chunk.
        losses: the mean loss of every chunk, nats per character.
        update_to_data: log10 of std(update) / std(parameter) after every chunk, by path; paths
            whose ratio is not finite are missing.
        results: the final loss of each split, by name.
        title: the title of the figure.
    """
    paths = paths_of(update_to_data)
    figure = Picture(figsize=(8, 7 + legend_height(paths)), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    draw_losses(above, steps, losses, results)
    above.set_title(title, parse_math=False)
    above.legend()
    draw_ratios(below, steps, update_to_data, "update")
    below.set_xlabel("step")
    if paths:  # empty if every ratio was out of float32's range
        draw_legend(figure, below)
    return figure


def paths_of(ratios: Sequence[Mapping[str, float]]) -> list[str]:
    """Return every path that has a ratio in some chunk."""
    return list(dict.fromkeys(path for chunk in ratios for path in chunk))


def legend_height(paths: Sequence[str]) -> float:
    """Return the height in inches of the legend of :func:`draw_legend`."""
    return 0.2 * math.ceil(len(paths) / 3)


def draw_legend(figure: Picture, axes: Any) -> None:
    """Place the legend of one pair of axes below the whole figure."""
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", fontsize="small", ncols=3
    )


def draw_losses(
    axes: Any, steps: Sequence[int], losses: Sequence[float], results: Mapping[str, float]
) -> None:
    """Draw the loss of every chunk, and the final loss of each split at the last step."""
    axes.plot(steps, losses, _marker(steps), linewidth=1, label="batches (mean of a chunk)")
    ink = rcParams["text.color"]
    # Hollow markers of different sizes, so that equal losses do not hide each other.
    for (name, loss), (shape, size) in zip(results.items(), RESULTS, strict=False):
        axes.plot(steps[-1], loss, shape, ms=size, mfc="none", color=ink, clip_on=False,
                  label=f"{name} {loss:.4f}")  # fmt: skip
    axes.set(ylabel="loss (nats per character)")


def draw_ratios(
    axes: Any, steps: Sequence[int], ratios: Sequence[Mapping[str, float]], of: str
) -> None:
    """Draw the ratio of every parameter over the steps, with a line at −3."""
    paths = paths_of(ratios)
    colors = colormaps["tab10"].colors  # pyright: ignore[reportAttributeAccessIssue]
    if len(paths) > len(colors):  # by depth: this many hues are hard to tell apart
        colors = colormaps["viridis"](np.linspace(0.15, 0.95, len(paths)))
    for path, color in zip(paths, colors, strict=False):
        heights = [chunk.get(path, math.nan) for chunk in ratios]
        axes.plot(steps, heights, _marker(steps), linewidth=1, color=color, label=path)
    axes.axhline(-3, linewidth=1, color=rcParams["text.color"], linestyle="--")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylabel(f"log10 of std({of}) / std(parameter)", fontsize="small")


def learning_rate_curve(rates: Any, losses: Any, smoothed: Any, suggested: float) -> Picture:
    """Plot the loss against the learning rate of a sweep, and mark the suggested rate."""
    figure = Picture(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses, linewidth=0.5, alpha=0.5, label="batch")
    axes.plot(rates, smoothed, linewidth=2, label="running median")
    axes.axvline(suggested, color="black", linestyle="--", label=f"suggested: {suggested:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss (nats per character)")
    axes.set_ylim(top=float(losses[0]) * 1.2)
    axes.legend()
    return figure


def sweep_curves(
    steps: Sequence[int],
    curves: Mapping[tuple[float, float], Float[np.ndarray, "K C"]],
    finals: Mapping[tuple[float, float], Float[np.ndarray, " K"]],
    split: str,
) -> Picture:
    """Plot the loss curves of a sweep and its final losses: mean and deviation over the seeds.

    Args:
        steps: the last step of each of C chunks.
        curves: the mean loss of every chunk in each of K runs, by learning rate and weight decay.
        finals: the final loss of the K runs on a split, likewise; NaN for runs that diverged.
        split: the name of the split.
    """
    figure = Picture(figsize=(14, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    decays = dict.fromkeys(decay for _, decay in curves)
    colors = colormaps["viridis"](np.linspace(0, 0.9, len(curves)))
    for color, ((rate, decay), losses) in zip(colors, curves.items(), strict=True):
        label = f"{rate:g}" + (f", decay {decay:g}" if len(decays) > 1 else "")
        mean, spread = losses.mean(0), losses.std(0, ddof=min(1, len(losses) - 1))
        left.plot(steps, mean, _marker(steps), color=color, linewidth=1.5, label=label)
        left.fill_between(steps, mean - spread, mean + spread, color=color, alpha=0.25, linewidth=0)
    left.xaxis.set_major_formatter("{x:,.0f}")
    left.set(xlabel="step", ylabel="training loss (mean of a chunk, nats per character)")
    for decay in decays:
        rates = sorted(rate for rate, its in finals if its == decay)
        whole = [finals[rate, decay][np.isfinite(finals[rate, decay])] for rate in rates]
        ends = [(rate, losses) for rate, losses in zip(rates, whole, strict=True) if len(losses)]
        right.errorbar(
            [rate for rate, _ in ends],
            [losses.mean() for _, losses in ends],
            [losses.std(ddof=min(1, len(losses) - 1)) for _, losses in ends],
            marker="o",
            capsize=4,
            label=f"decay {decay:g}",
        )
    right.set(xscale="log", xlabel="learning rate", ylabel=f"final {split} loss")
    right.set_xticks(sorted({rate for rate, _ in finals}))
    right.xaxis.set_major_formatter("{x:g}")
    right.xaxis.set_minor_formatter("")
    if len(decays) > 1:
        right.legend()
    for axes, drawn in (left, curves), (right, finals):
        lowest = min(losses[np.isfinite(losses)].min(initial=np.inf) for losses in drawn.values())
        if axes.get_ylim()[1] > 2 * lowest:  # a diverging run would squash the others
            axes.set_ylim(0.95 * lowest, 2 * lowest)
    figure.legend(
        *left.get_legend_handles_labels(),
        title="learning rate",
        loc="outside right upper",
        fontsize="small",
        ncols=math.ceil(len(curves) / 24),
    )
    return figure


def _marker(steps: Sequence[int]) -> str:
    return "o-" if len(steps) == 1 else "-"  # a line through one point is invisible
