"""Figures, drawn with matplotlib's object interface: no display, no global state."""

from jaxmore.plots._inspection import (
    attention_maps,
    cotangent_image,
    embedding_scatter,
    gradient_sizes,
    histograms,
    over_time,
)
from jaxmore.plots._ngram import ngram_counts
from jaxmore.plots._picture import THEMES, Picture, Theme, save, theme
from jaxmore.plots._training import learning_rate_curve, loss_curve, sweep_curves

__all__ = [
    "THEMES",
    "Picture",
    "Theme",
    "attention_maps",
    "cotangent_image",
    "embedding_scatter",
    "gradient_sizes",
    "histograms",
    "learning_rate_curve",
    "loss_curve",
    "ngram_counts",
    "over_time",
    "save",
    "sweep_curves",
    "theme",
]
