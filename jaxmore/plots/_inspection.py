"""Figures of a trained model on one batch: activations, cotangents, embeddings, attention."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps, rcParams

from jaxmore.plots._picture import Picture, Theme, diverging
from jaxmore.plots._training import (
    draw_legend,
    draw_losses,
    draw_ratios,
    legend_height,
    paths_of,
)

N_BINS = 80
TALLEST = 100
"""The maximum height of a figure in inches: image formats limit the number of pixels."""
MOST_LABELS = 64
"""Rows and columns of an image are labelled up to this number."""
Rows = Mapping[str, tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]]


def histograms(layers: Rows, notes: Mapping[str, str], title: str) -> Picture:
    """Plot histograms of each layer's activations and of the magnitudes of their cotangents.

    Args:
        layers: (activations, cotangents) by path, in the order of computation.
        notes: the text beside a layer, by path.
        title: the title of the figure.
    """
    figure = Picture(figsize=(8, min(TALLEST, 1.6 + 0.32 * len(layers))), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    figure.suptitle(title, parse_math=False)
    values = [value.ravel() for value, _ in layers.values()]
    limit = max(float(np.quantile(np.abs(value), 0.995)) for value in values) or 1.0
    sizes = [np.log10(np.abs(dy[dy != 0])) for _, dy in layers.values()]
    whole = np.concatenate(sizes) if any(map(len, sizes)) else np.zeros(1)
    lowest = max(float(np.quantile(whole, 0.001)), float(whole.max()) - 12)
    edges = (
        np.linspace(-limit, limit, N_BINS + 1),
        np.linspace(lowest, whole.max() + 0.1, N_BINS + 1),
    )
    for axes, arrays, bins in zip((left, right), (values, sizes), edges, strict=True):
        colors = colormaps["viridis"](np.linspace(0.25, 0.85, len(layers)))
        for place, (array, color) in enumerate(zip(arrays, colors, strict=True)):
            counts, _ = np.histogram(array, bins)
            heights = 0.9 * counts / max(1, counts.max())
            axes.stairs(heights - place, bins, baseline=-place, fill=True, color=color)
            axes.axhline(-place, linewidth=0.5, color=color)
        axes.margins(x=0)
        axes.tick_params(labelsize="small")
        axes.spines[["top", "right"]].set_visible(False)
    left.set_yticks([0.35 - place for place in range(len(layers))], list(layers), parse_math=False)
    left.tick_params(axis="y", length=0)
    right.tick_params(axis="y", length=0)
    left.set_ylim(-len(layers) + 0.9, 1.1)
    left.set_xlabel("activation")
    right.set_xlabel("log10 of |cotangent|, zeros left out")
    for place, path in enumerate(layers):
        right.text(1.02, 0.2 - place, notes.get(path, ""), fontsize="small",
                   transform=right.get_yaxis_transform())  # fmt: skip
    return figure


def gradient_sizes(
    gradient_to_data: Mapping[str, float], update_to_data: Mapping[str, float], title: str
) -> Picture:
    """Plot the size of each parameter's gradient and last update relative to the parameter.

    Args:
        gradient_to_data: log10 of std(gradient) / std(parameter) by path; values that are not
            finite are left out.
        update_to_data: the same for the update.
        title: the title of the figure.
    """
    paths = list(gradient_to_data)
    figure = Picture(figsize=(8, min(TALLEST, 1.8 + 0.22 * len(paths))), layout="constrained")
    axes = figure.subplots()
    figure.suptitle(title, parse_math=False)
    places = range(len(paths))
    for ratios, marker, label in (
        (gradient_to_data, "o", "gradient of this batch"),
        (update_to_data, "D", "last update"),
    ):
        heights = [ratios.get(path, math.nan) for path in paths]
        axes.plot(heights, places, marker, markersize=5, label=label)
    axes.axvline(-3, linewidth=1, linestyle="--", color=rcParams["text.color"], label="−3")
    axes.set_yticks(places, paths, parse_math=False, fontsize="small")
    axes.set_ylim(len(paths) - 0.5, -0.5)
    axes.grid(axis="y", linewidth=0.3)
    axes.set_xlabel("log10 of std(gradient or update) / std(parameter)")
    figure.legend(loc="outside lower center", ncols=3, fontsize="small")
    return figure


def over_time(
    steps: Sequence[int],
    losses: Sequence[float],
    update_to_data: Sequence[Mapping[str, float]],
    gradient_to_data: Sequence[Mapping[str, float]],
    first_loss: float,
    uniform_loss: float,
    results: Mapping[str, float],
    title: str,
) -> Picture:
    """Plot the loss, and the ratios of updates and gradients to parameters, over the steps.

    Args:
        steps: the last step of every chunk.
        losses: the mean loss of every chunk.
        update_to_data: log10 of std(update) / std(parameter) after every chunk, by path.
        gradient_to_data: the same for the gradient; empty where it was not recorded.
        first_loss: the loss of the initial parameters.
        uniform_loss: the loss of equal probabilities, −log 1/V.
        results: the final loss of each split.
        title: the title of the figure.
    """
    panels = {"update": update_to_data, "gradient": gradient_to_data}
    panels = {name: ratios for name, ratios in panels.items() if any(ratios)}
    height = 3 + 3 * len(panels) + legend_height(paths_of(update_to_data))
    figure = Picture(figsize=(8, min(TALLEST, height)), layout="constrained")
    above, *others = figure.subplots(1 + len(panels), sharex=True, squeeze=False)[:, 0]
    draw_losses(above, steps, losses, results)
    ink = rcParams["text.color"]
    above.plot(0, first_loss, "*", ms=10, color=ink, clip_on=False,
               label=f"at initialisation {first_loss:.4f}")  # fmt: skip
    above.axhline(uniform_loss, linewidth=1, linestyle="--", color=ink,
                  label=f"−log 1/V {uniform_loss:.4f}")  # fmt: skip
    above.set_title(title, parse_math=False)
    above.legend(framealpha=1, fontsize="small")
    for axes, (name, ratios) in zip(others, panels.items(), strict=True):
        draw_ratios(axes, steps, ratios, name)
    figure.axes[-1].set_xlabel("step")
    if others:
        draw_legend(figure, others[0])
    return figure


def embedding_scatter(
    points: Float[np.ndarray, "n 2"],
    shares: Sequence[float] | None,
    characters: Sequence[str],
    title: str,
) -> Picture:
    """Plot the rows of an embedding in the plane, each labelled with its character.

    Args:
        points: one row per character.
        shares: the fraction of the variance that each axis explains; None for an embedding of
            two dimensions, which is shown as it is.
        characters: the label of each row.
        title: the title of the figure.
    """
    figure = Picture(figsize=(8, 8), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, parse_math=False)
    axes.plot(*points.T, "o", markersize=15, alpha=0.25)
    for (x, y), character in zip(points, characters, strict=True):
        axes.text(x, y, character, ha="center", va="center", parse_math=False)
    labels = "first", "second"
    axes.set(
        **{
            f"{axis}label": f"{labels[i]} dimension"
            if shares is None
            else f"{labels[i]} principal component ({shares[i]:.0%} of the variance)"
            for i, axis in enumerate("xy")
        }
    )
    axes.margins(0.08)
    axes.grid(linewidth=0.3)
    axes.set_aspect("equal", "datalim")
    return figure


def cotangent_image(
    dlogits: Float[np.ndarray, "R V"],
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    theme: Theme,
) -> Picture:
    """Plot the cotangent of the logits as an image, whose rows sum to zero.

    Args:
        dlogits: one row per prediction.
        rows: the context and the target of each prediction.
        columns: the V characters.
        title: the title of the figure.
        theme: selects the colour scale.
    """
    figure = Picture(figsize=(8, 1.6 + 0.2 * len(dlogits)), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, parse_math=False)
    size = float(np.abs(dlogits).max()) or 1.0
    image = axes.imshow(
        dlogits, cmap=diverging(theme), vmin=-size, vmax=size, aspect="auto", interpolation="none"
    )
    small: dict[str, Any] = {"parse_math": False, "fontsize": "x-small", "family": "monospace"}
    if len(columns) <= MOST_LABELS:
        axes.set_xticks(range(len(columns)), list(columns), **small)
    axes.set_yticks(range(len(rows)), list(rows), **small)
    axes.tick_params(length=0)
    axes.set(xlabel="logit of the character", ylabel="context → target")
    figure.colorbar(image, ax=axes, label="cotangent of the logit (nats)", pad=0.01, aspect=40)
    return figure


def attention_maps(
    attention: Mapping[str, Float[np.ndarray, "N T T"]], characters: Sequence[str], title: str
) -> Picture:
    """Plot how much each position of a word attends to the earlier ones: one map per head.

    Args:
        attention: the weights of each layer by path, queries in rows and keys in columns.
        characters: the T input characters.
        title: the title of the figure.
    """
    n_heads = max(map(len, attention.values()))
    side = min(7 / n_heads, 4)
    figure = Picture(
        figsize=(8, min(TALLEST, (side + 0.3) * len(attention) + 1)), layout="constrained"
    )
    figure.suptitle(title, parse_math=False)
    panels = figure.subplots(len(attention), n_heads, squeeze=False)
    future = ~np.tri(len(characters), dtype=bool)  # left empty
    places = range(len(characters))
    image = None
    for row, (path, heads) in zip(panels, attention.items(), strict=True):
        row[0].set_ylabel(path, fontsize="small", parse_math=False)
        for i, (axes, weights) in enumerate(zip(row, heads, strict=False)):
            shown = np.ma.masked_where(future, weights)
            image = axes.imshow(shown, cmap="viridis", vmin=0, vmax=1)
            axes.set_title(f"head {i}", fontsize="small")
            if len(characters) <= MOST_LABELS:
                axes.set_xticks(places, list(characters), parse_math=False)
                axes.set_yticks(places, list(characters), parse_math=False)
            axes.tick_params(length=0, labelsize="x-small", pad=1)
    figure.supxlabel("key position", fontsize="medium")
    figure.supylabel("query position", fontsize="medium")
    if image is not None:
        figure.colorbar(image, ax=panels, label="weight", aspect=40, pad=0.01)
    return figure
