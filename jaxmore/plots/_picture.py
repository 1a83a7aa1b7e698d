"""Figures without global state: the class, the light and dark themes, saving."""

import io
import re
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from jaxmore.files import write_atomically
from jaxmore.notebook import colours

Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")
_PAPER_AND_INK = {"light": ("#ffffff", "#1b1f24"), "dark": ("#14171b", "#eceff3")}
"""The same colours as the explorer's page."""


@contextmanager
def theme(name: Theme) -> Generator[None]:
    """Draw the figures of this block for a light or a dark page."""
    paper, ink = _PAPER_AND_INK[name]
    papers = ("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor")
    inks = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    look: Any = {**dict.fromkeys(papers, paper), **dict.fromkeys(inks, ink)}
    with rc_context(look):
        yield


def diverging(name: Theme) -> LinearSegmentedColormap:
    """Return the colour scale of the explorer's heat maps: blue below zero, orange above."""
    found = [re.findall(rf"--{end}: (#\w{{6}})", colours()) for end in ("low", "mid", "high")]
    scale = [colors[("light", "dark").index(name)] for colors in found]
    return LinearSegmentedColormap.from_list(f"jaxmore-{name}", scale)


class Picture(Figure):
    """A matplotlib figure that notebooks display, without pyplot's global state."""

    def encode(self, suffix: str) -> bytes:
        """Return the figure as the content of a file: ".png" or ".svg"."""
        # Otherwise an SVG contains the time and ids that differ from run to run.
        metadata = {"Date": None} if suffix == ".svg" else None
        salt = rc_context({"svg.hashsalt": "jaxmore"})
        with salt, warnings.catch_warnings(), io.BytesIO() as content:
            # A character that the font lacks is drawn as a box; there is nothing better to do.
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
            self.savefig(content, format=suffix[1:], dpi=120, metadata=metadata)
            return content.getvalue()

    def _repr_png_(self) -> bytes:
        return self.encode(".png")


def save(figure: Picture, path: Path) -> None:
    """Write a figure atomically, as PNG or SVG depending on the suffix of the path."""
    write_atomically(path, figure.encode(path.suffix))
