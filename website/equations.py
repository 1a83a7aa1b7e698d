"""Equations as MathML, made when the site is built: no script and no font is fetched."""

import html
import re
from typing import Any

from latex2mathml.converter import convert

_INLINE = re.compile(r'<span class="arithmatex">\\\((.+?)\\\)</span>', re.S)
_BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.+?)\\\]\s*</div>', re.S)


def block(source: str, *_: Any, **__: Any) -> str:
    """Render a ``math`` fence (the format function of pymdownx.superfences)."""
    return f'<div class="arithmatex">{to_mathml(source, "block")}</div>'


def render(content: str) -> str:
    """Replace the equations that arithmatex marked in a page's HTML."""
    content = _INLINE.sub(lambda m: to_mathml(html.unescape(m[1])), content)
    return _BLOCK.sub(lambda m: block(html.unescape(m[1])), content)


def to_mathml(latex: str, display: str = "inline") -> str:
    r"""Convert one equation.

    Raises:
        ValueError: a command was not understood; MathML would show it as text.
    """
    latex = latex.strip()
    mathml = convert(latex, display=display)
    if unknown := re.search(r"<m[iot][^>]*>\\\w+", mathml):
        raise ValueError(f"{unknown[0]} in {latex!r}")
    # Fonts without a stretching overline would draw it over one letter: the style sheet draws it.
    return mathml.replace('<mo accent="true">&#x02015;</mo>', '<mo class="bar"></mo>')
