"""Heat maps of counted bigrams and trigrams."""

import math

import numpy as np
from jaxtyping import Int
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm

from jaxmore.plots._picture import Picture

MOST_CHARACTERS = 36
"""The most characters of a table that are drawn; more would be illegible."""


def ngram_counts(counts: Int[np.ndarray, "*table"], characters: str) -> Picture:
    """Plot how often each character follows each context, for the most frequent characters.

    Bigrams are drawn as in zero-to-hero's lecture 2: one map with the two characters and their
    count in each cell. Trigrams have one map per first character, with counts by colour alone.

    Args:
        counts: V × V, or V × V × V.
        characters: the V characters, the boundary first.
    """
    of_each = counts.sum(tuple(range(counts.ndim - 1)))
    often = np.sort(np.argsort(-of_each, kind="stable")[:MOST_CHARACTERS])
    counts = counts[np.ix_(*[often] * counts.ndim)]
    drawn = "".join(characters[i] for i in often)
    return _bigram_map(counts, drawn) if counts.ndim == 2 else _trigram_maps(counts, drawn)


def _bigram_map(counts: Int[np.ndarray, "V V"], characters: str) -> Picture:
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


def _trigram_maps(counts: Int[np.ndarray, "V V V"], characters: str) -> Picture:
    n_columns = math.ceil(math.sqrt(len(characters)))
    n_rows = math.ceil(len(characters) / n_columns)
    side = 0.6 + 0.1 * len(characters)
    figure = Picture(figsize=(side * n_columns + 1, side * n_rows), layout="constrained")
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    # Logarithmic, since most trigrams that occur are rare. Those that never occur are white.
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
