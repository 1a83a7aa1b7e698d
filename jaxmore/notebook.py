"""What a notebook shows of our results: small tables and heat maps, as HTML without scripts."""

import base64
import io
import re
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from importlib import resources
from typing import Any

import numpy as np

MOST_ROWS, MOST_COLUMNS = 64, 512
"""A heat map shows the first rows and columns of a larger array."""
LIMITS = (12, 96), (24, 240)
"""The least and the most pixels of its height and of its width."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], note: str = "") -> str:
    """Return a table. The cells are text, or what :func:`heat_map` returns."""
    lines = ["".join(f"<th>{escape(name)}</th>" for name in head)]
    lines += ["".join(f"<td>{_cell(cell)}</td>" for cell in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table>{body}</table>" + (f"<p>{escape(note)}</p>" if note else "")


class Html(str):
    """Text that is HTML already."""


@cache
def colours() -> str:
    """Return the style sheet of the diverging scale, which the explorer has, too."""
    return (resources.files("jaxmore") / "colours.css").read_text("utf-8")


def heat_map(array: Any) -> Html:
    """Return an array as a picture: blue below zero, orange above, the largest number strongest.

    The last axes stand side by side. An array without numbers gives nothing.
    """
    values = np.asarray(array, np.float32)
    if not values.size:
        return Html()
    rows, columns = _extent(values.shape)
    shown = values.reshape(rows, columns)[:MOST_ROWS, :MOST_COLUMNS]
    size = np.abs(shown[np.isfinite(shown)]).max(initial=0) or 1
    share = np.where(np.isfinite(shown), shown / size, 1)
    levels = np.rint(127 * (share + 1)).astype(np.uint8)
    png = base64.b64encode(_png(levels)).decode()
    height, width = (
        int(np.clip(4 * n, *limits)) for n, limits in zip(shown.shape, LIMITS, strict=True)
    )
    part = "" if shown.size == values.size else f", the first {' by '.join(map(str, shown.shape))}"
    title = f"from −{size:.3g} to {size:.3g}{part}"
    style = f"width:{width}px;height:{height}px;image-rendering:pixelated"
    return Html(
        f'<img src="data:image/png;base64,{png}" alt="{title}" title="{title}" style="{style}">'
    )


def _cell(cell: str) -> str:
    return cell if isinstance(cell, Html) else escape(cell)


def _extent(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the rows and columns of the picture; a column of numbers lies down."""
    size = int(np.prod(shape))
    lead = next((axis for axis, n in enumerate(shape) if n > 1), len(shape))
    rows = shape[lead] if lead < len(shape) - 1 else 1
    return (1, rows) if 1 < rows == size else (rows, size // rows)


def _png(levels: np.ndarray) -> bytes:
    """Encode levels from 0 to 254 as a picture with a palette."""
    from PIL import Image

    picture, content = Image.fromarray(levels), io.BytesIO()
    picture.putpalette(_palette())
    picture.save(content, "PNG")
    return content.getvalue()


@cache
def _palette() -> bytes:
    """Return the colours of the levels: the square root spreads small values, as the page does."""
    low, mid, high = (
        np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)])
        for code in (
            re.findall(rf"--{name}: #(\w{{6}})", colours())[0] for name in ("low", "mid", "high")
        )
    )
    share = (np.arange(255) / 127 - 1)[:, None]
    ends = np.where(share < 0, low, high)
    return np.rint(mid + (ends - mid) * np.sqrt(np.abs(share))).astype(np.uint8).tobytes()
