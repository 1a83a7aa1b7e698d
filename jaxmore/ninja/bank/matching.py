"""Find the mistake that gives a wrong value."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxmore.ninja.bank.mistake import Mistake
from jaxmore.ninja.bank.values import as_array, value_of

SAME = 1e-6
"""How far a value may be from a mistake's, relative to the largest element of either the mistake's
or the right value: helpers may be float32, and a value that cancels to zero needs a scale, too."""


def answer(
    mistakes: Sequence[Mistake], ours: np.ndarray, right: Any, names: Mapping[str, Any]
) -> str | None:
    """Return the sentence for a wrong value, or None where the bank knows none.

    Args:
        mistakes: those known for the blank.
        ours: the learner's value, which is wrong in its numbers or in its shape.
        right: the right value.
        names: what the lines may read: the forward values and the cotangents above the blank.
    """
    mistake = known_mistake(mistakes, ours, np.asarray(right), names)
    return mistake and mistake.answer


def known_mistake(
    mistakes: Sequence[Mistake], ours: np.ndarray, right: np.ndarray, names: Mapping[str, Any]
) -> Mistake | None:
    """Return the mistake whose value this is, the nearest one, or None."""
    arrays = {name: as_array(value) for name, value in names.items()}
    offs = (distance_between(ours, value_of(m.code, arrays), right) for m in mistakes)
    off, place = min(((off, place) for place, off in enumerate(offs)), default=(np.inf, 0))
    return mistakes[place] if off <= SAME else None


def distance_between(a: np.ndarray, b: np.ndarray, right: np.ndarray) -> float:
    """How far apart two values are, relative to the scale; infinite where the shapes differ."""
    if a.shape != b.shape:
        return np.inf
    scale = max(np.abs(b).max(initial=0), np.abs(right).max(initial=0))
    return float(np.abs(a - b).max(initial=0) / (scale or 1.0))
