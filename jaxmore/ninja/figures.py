"""A figure that a notebook prints beside ours, and the table of such figures."""

from collections.abc import Iterable
from textwrap import fill
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Figure(NamedTuple):
    """One figure as its notebook printed it, and as we get it in the same format.

    `ours` is empty where the figure cannot be reproduced, and `why` gives the reason. Elsewhere
    `why` explains a difference, if there is one.
    """

    notebook: str
    name: str
    printed: str
    ours: str
    why: str = ""


def as_printed(
    notebook: str, name: str, printed: str, values: npt.ArrayLike, why: str = ""
) -> Figure:
    """Make a figure from values, written in the format of what the notebook printed.

    Args:
        notebook: the notebook's number.
        name: what the figure is called.
        printed: what the notebook printed: all values, or the first and the last ones around "…".
        values: our values, at least as many.
        why: the reason of a difference.
    """
    flat = np.ravel(values)
    head, *tail = (part.split() for part in printed.split("…"))
    ours = [_like(token, value) for token, value in zip(head, flat, strict=not tail)]
    if tail:
        ours += ["…", *map(_like, tail[0], flat[len(flat) - len(tail[0]) :])]
    return Figure(notebook, name, printed, " ".join(ours), why)


def _like(token: str, value: float) -> str:
    if token == "True":
        return str(bool(value))
    if "." not in token:
        return f"{int(value):,}"
    mantissa, exponent, _ = token.partition("e")
    return f"{value:.{len(mantissa.partition('.')[2])}{'e' if exponent else 'f'}}"


def format_figures(figures: Iterable[Figure]) -> str:
    """Format a line for each figure, and below it the reason of a difference, if there is one.

    >>> print(format_figures([Figure("004", "loss", "3.5586", "3.5586")]))
      notebook figure                           as printed                        as we get it
    = 004      loss                             3.5586                            3.5586
    """
    line = "{:1} {:8} {:32} {:41} {}"
    lines = [line.format("", "notebook", "figure", "as printed", "as we get it")]
    for notebook, name, printed, ours, why in figures:
        mark = "=" if ours == printed else "≠" if ours else "?"
        lines.append(line.format(mark, notebook, name, printed, ours or "—"))
        if why:
            lines.append(fill(why, 100, initial_indent=" " * 11, subsequent_indent=" " * 11))
    return "\n".join(lines)
