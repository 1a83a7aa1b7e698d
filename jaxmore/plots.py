"""Figures, drawn with matplotlib's object interface: no display, no global state."""

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxmore.files import write_atomically

MOST_CHARACTERS = 36
"""So many are drawn of a table: more could not be read."""
RESULTS = (("s", 11), ("o", 7), ("^", 4))
"""The marker and its size for the final loss of each split."""


def loss_curve(
    steps: Sequence[int],
    losses: Sequence[float],
    update_to_data: Sequence[Mapping[str, float]],
    results: Mapping[str, float],
    title: str = "",
) -> "Picture":
    """The training loss over the steps, and how large each parameter's updates were.

    Args:
        steps: the last step of every chunk.
        losses: the mean loss of every chunk, nats per character.
        update_to_data: log10 of std(update) / std(parameter) after every chunk, by path; a path
            may be missing where it was not finite.
        results: the final loss of each split, by name.
        title: what was trained.
    """
    paths = list(dict.fromkeys(path for ratios in update_to_data for path in ratios))
    n_rows = math.ceil(len(paths) / 3)  # of the legend
    figure = Picture(figsize=(8, 7 + 0.2 * n_rows), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    marker = _marker(steps)
    above.plot(steps, losses, marker, linewidth=1, label="batches (mean of a chunk)")
    # Hollow and of several sizes, so that equal losses do not hide each other.
    for (name, loss), (shape, size) in zip(results.items(), RESULTS, strict=False):
        above.plot(steps[-1], loss, shape, ms=size, mfc="none", color="black", clip_on=False,
                   label=f"{name} {loss:.4f}")  # fmt: skip
    above.set_title(title, parse_math=False)
    above.set(ylabel="loss (nats per character)")
    above.legend()
    colors = colormaps["tab10"].colors  # pyright: ignore[reportAttributeAccessIssue]
    if len(paths) > len(colors):  # by depth: so many colours could not be told apart
        colors = colormaps["viridis"](np.linspace(0, 0.95, len(paths)))
    for path, color in zip(paths, colors, strict=False):
        heights = [ratios.get(path, math.nan) for ratios in update_to_data]
        below.plot(steps, heights, marker, linewidth=1, color=color, label=path)
    below.axhline(-3, linewidth=1, color="black", linestyle="--")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    below.xaxis.set_major_formatter("{x:,.0f}")
    below.set(xlabel="step", ylabel="log10 of std(update) / std(parameter)")
    if paths:  # none where every ratio was out of float32's range
        figure.legend(
            *below.get_legend_handles_labels(),
            loc="outside lower center",
            fontsize="small",
            ncols=3,
        )
    return figure


def learning_rate_curve(rates: Any, losses: Any, smoothed: Any, suggested: float) -> "Picture":
    """The loss against the learning rate of a sweep, and the rate that it suggests."""
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
) -> "Picture":
    """The loss curves of a sweep, and where each setting ends: mean and deviation over its seeds.

    Args:
        steps: the last step of each of C chunks.
        curves: the mean loss of every chunk in each of K runs, by learning rate and weight decay.
        finals: the final loss of the K runs on a split, likewise; NaN where one diverged.
        split: its name.
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
        if axes.get_ylim()[1] > 2 * lowest:  # what diverges would leave no room for the others
            axes.set_ylim(0.95 * lowest, 2 * lowest)
    figure.legend(
        *left.get_legend_handles_labels(),
        title="learning rate",
        loc="outside right upper",
        fontsize="small",
        ncols=math.ceil(len(curves) / 24),
    )
    return figure


def ngram_counts(counts: Int[np.ndarray, "*table"], characters: str) -> "Picture":
    """How often each character follows each context, for the most frequent characters.

    Bigrams as in zero-to-hero's lecture 2: one map, the two characters and their count in each
    cell. Trigrams: such a map, its counts by colour alone, for each first character.

    Args:
        counts: V × V, or V × V × V.
        characters: the V characters, the boundary first.
    """
    of_each = counts.sum(tuple(range(counts.ndim - 1)))
    often = np.sort(np.argsort(-of_each, kind="stable")[:MOST_CHARACTERS])
    counts = counts[np.ix_(*[often] * counts.ndim)]
    drawn = "".join(characters[i] for i in often)
    return _bigram_map(counts, drawn) if counts.ndim == 2 else _trigram_maps(counts, drawn)


def _bigram_map(counts: Int[np.ndarray, "V V"], characters: str) -> "Picture":
    side = 1 + 0.6 * len(characters)
    figure = Picture(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(counts, cmap="Blues")
    for (i, j), count in np.ndenumerate(counts):
        color = "white" if count > counts.max() / 2 else "black"
        cell = f"{characters[i]}{characters[j]}\n{count}"
        axes.text(j, i, cell, ha="center", va="center", color=color, fontsize=9, parse_math=False)
    axes.set_axis_off()
    return figure


def _trigram_maps(counts: Int[np.ndarray, "V V V"], characters: str) -> "Picture":
    n_columns = math.ceil(math.sqrt(len(characters)))
    n_rows = math.ceil(len(characters) / n_columns)
    side = 0.6 + 0.1 * len(characters)
    figure = Picture(figsize=(side * n_columns + 1, side * n_rows), layout="constrained")
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    # Logarithmic: most of the trigrams that occur are rare. Never seen is white.
    scale = LogNorm(1, max(2, int(counts.max())))
    places = range(len(characters))
    for axes, first, table in zip(panels, characters, counts, strict=False):
        axes.imshow(np.ma.masked_equal(table, 0), cmap="viridis_r", norm=scale)
        axes.set_title(f"{first} …", fontsize=11, fontweight="bold", parse_math=False)
        axes.set_xticks(places, list(characters), fontsize=6, parse_math=False)
        axes.set_yticks(places, list(characters), fontsize=6, parse_math=False)
        axes.tick_params(length=0, pad=1)
    for axes in panels[len(characters) :]:
        axes.set_axis_off()
    figure.supxlabel("third character")
    figure.supylabel("second character")
    colors = ScalarMappable(scale, "viridis_r")
    figure.colorbar(colors, ax=figure.axes, label="count", shrink=0.5, aspect=40)
    return figure


def _marker(steps: Sequence[int]) -> str:
    return "o-" if len(steps) == 1 else "-"  # a line through one point is not seen


class Picture(Figure):
    """A figure that a notebook shows, without pyplot and its global state."""

    def _repr_png_(self) -> bytes:
        with warnings.catch_warnings(), io.BytesIO() as content:
            # A box in the place of a character that the font has not is all that can be done.
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
            self.savefig(content, format="png", dpi=120)
            return content.getvalue()


def save(figure: Picture, path: Path) -> None:
    """Write a figure as a PNG, whole or not at all."""
    write_atomically(path, figure._repr_png_())  # pyright: ignore[reportPrivateUsage]
