"""The bank of known mistakes: for each blank of an exercise the mistakes that people make there.

:mod:`jaxmore.ninja.bank.network` holds those that are written by hand, and ``network.json`` those
that ``python -m tests.mutants.bank`` generates from the right lines, as ``make mutants`` does.
"""

import json
from functools import cache
from importlib import resources

from jaxmore.ninja.bank import network
from jaxmore.ninja.bank.matching import answer
from jaxmore.ninja.bank.mistake import Mistake

__all__ = ["Mistake", "answer", "network_bank"]


@cache
def network_bank() -> dict[str, tuple[Mistake, ...]]:
    """Return the mistakes in the blanks of the notebooks' network, those written by hand first."""
    file = resources.files("jaxmore.ninja.bank") / "network.json"
    generated: dict[str, dict[str, str]] = json.loads(file.read_text("utf-8"))
    return {
        blank: (
            *network.MISCONCEPTIONS[blank],
            *(Mistake("", code, you) for code, you in generated[blank].items()),
        )
        for blank in network.RIGHT
    }
