"""Equations as MathML, made when the site is built: no script and no font is fetched."""

import html
import re
from typing import Any

from latex2mathml.converter import convert

_INLINE = re.compile(r'<span class="arithmatex">\\\((.+?)\\\)</span>([.,;:)]*)', re.S)
_BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.+?)\\\]\s*</div>', re.S)


def block(source: str, *_: Any, **__: Any) -> str:
    """Render a ``math`` fence (the format function of pymdownx.superfences)."""
    return f'<div class="arithmatex">{to_mathml(source, "block")}</div>'


def render(content: str) -> str:
    """Replace the equations that arithmatex marked in a page's HTML."""
    content = _INLINE.sub(_inline, content)
    return _BLOCK.sub(lambda m: block(html.unescape(m[1])), content)


def _inline(equation: re.Match[str]) -> str:
    mathml, punctuation = to_mathml(html.unescape(equation[1])), equation[2]
    return f'<span class="nobreak">{mathml}{punctuation}</span>' if punctuation else mathml


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
