"""Docstrings in the style of Python, made ready for Markdown (an extension of griffe)."""

import re
from typing import Any

import griffe


def to_markdown(text: str) -> str:
    """Turn roles into code, and ``::`` before an indented block into a colon."""
    text = re.sub(r":(?:\w+:)?\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
    text = re.sub(r"::(?=\n\n {4})", ":", text)
    # A paragraph that begins with ">>>" is a session of Python's.
    return re.sub(r"^(>>> .+?)(?=\n\n(?!>>>)|\Z)", r"```pycon\n\1\n```", text, flags=re.M | re.S)


class Docstrings(griffe.Extension):
    """Rewrites every docstring as it is read from the source."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring:
            obj.docstring.value = to_markdown(obj.docstring.value)
