"""What the pattern of a wrong cotangent shows: what is certain, and a guess only as a guess."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

# How well a pattern must hold, relative to the right cotangent's scale.
EXACT = 1e-10


class Evidence(NamedTuple):
    """A wrong cotangent with everything it was computed from, as float64 NumPy arrays."""

    argument: str
    ours: np.ndarray
    oracle: np.ndarray
    scale: float
    """The size below which a difference is rounding, divided by 1e-12."""
    inputs: dict[str, np.ndarray]
    """Every array argument by name, integers included."""
    dy: Sequence[np.ndarray]
    y: Sequence[np.ndarray]
    others: dict[str, np.ndarray]
    """The right cotangents of the other arguments."""
    is_rule: bool = True
    """Whether it is a rule, whose author can declare that gradient reversal is meant."""


def cause_of(evidence: Evidence) -> str | None:
    """Return the cause of a wrong cotangent, or None where its pattern shows none."""
    with np.errstate(all="ignore"):
        if evidence.ours.shape != evidence.oracle.shape:
            return _of_shape(evidence)
        if not evidence.oracle.any() and any(_equal(evidence.ours, dy) for dy in evidence.dy):
            return (
                "dy is passed on where the forward is constant; if that is meant "
                "(straight-through), declare it: op=lambda x: x, skip=('primal',)"
            )
        if not np.isfinite(evidence.ours).all() or evidence.scale == 0:
            return None
        return next(_of_values(evidence), None)


def _of_values(e: Evidence) -> Iterator[str]:
    """Yield causes, the most specific first."""
    yield from _swapped(e)
    yield from _transposed(e)
    yield from _factor(e)
    yield from _rows(e)
    yield from _missing_term(e)
    yield from _missing_factor(e)


def _same(e: Evidence, a: Any, b: Any) -> bool:
    # Against what the right one is, not against the scale: zero by identity has no pattern.
    size = np.abs(e.oracle).max(initial=0)
    return bool(size > 1e-6 * e.scale and np.abs(a - b).max(initial=0) <= EXACT * size)


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool((a == b).all())


def _of_shape(e: Evidence) -> str | None:
    ours, oracle = e.ours, e.oracle
    if ours.size == oracle.size:  # a sum over axes of length one sums nothing
        if ours.ndim == 2 and ours.T.shape == oracle.shape and _same(e, ours.T, oracle):
            return "it is transposed"
        if _same(e, ours.reshape(oracle.shape), oracle):
            return f"the values are right: reshape them to {oracle.shape}"
    for count in range(1, ours.ndim + 1):
        for axes in combinations(range(ours.ndim), count):
            for keep in (False, True):
                summed = ours.sum(axes, keepdims=keep)
                if summed.shape == oracle.shape and _same(e, summed, oracle):
                    which = "axis" if count == 1 else "axes"
                    numbers = " and ".join(map(str, axes))
                    return (
                        f"the sum over {which} {numbers}, which the forward broadcast, is missing"
                    )
    for name, other in e.others.items():
        same = ours.shape == other.shape and np.allclose(ours, other, rtol=EXACT, atol=0)
        if same and np.ptp(other) > 0:
            return f"this is the cotangent of {name}: are they swapped?"
    return None


def _swapped(e: Evidence) -> Iterator[str]:
    for name, other in e.others.items():
        if other.shape == e.ours.shape and _same(e, e.ours, other) and np.ptp(other) > 0:
            yield f"this is the cotangent of {name}: are they swapped?"


def _transposed(e: Evidence) -> Iterator[str]:
    square = e.ours.ndim >= 2 and e.ours.shape[-1] == e.ours.shape[-2] > 1
    if square and _same(e, np.swapaxes(e.ours, -1, -2), e.oracle):
        yield "it is transposed"


def _factor(e: Evidence) -> Iterator[str]:
    ours, oracle = e.ours.ravel(), e.oracle.ravel()
    norm = float(oracle @ oracle)
    factor = float(ours @ oracle) / norm if norm else 0.0
    if not _same(e, ours, factor * oracle):
        return
    if factor == 0:
        yield "it is zero everywhere"
    elif abs(factor + 1) < EXACT:
        meant = (
            "; if that is meant (gradient reversal), declare it: op=lambda x: -x, skip=('primal',)"
        )
        reversal = e.is_rule and any(_equal(e.ours, -dy) for dy in e.dy)
        yield "its sign is wrong" + (meant if reversal else "")
    elif abs(factor - 2) < EXACT:
        yield "it is twice what it should be"
    elif abs(factor - 0.5) < EXACT:
        yield "it is half of what it should be"
    else:
        reasons = set(_reasons(e, factor))
        because = f" (possibly {reasons.pop()})" if len(reasons) == 1 else ""
        digits = 6 if abs(factor - 1) > 1e-5 else 10
        yield f"it is {factor:.{digits}g} times what it should be{because}"


def _reasons(e: Evidence, factor: float) -> Iterator[str]:
    """Yield what may make a constant factor of this size. Of several the caller takes none.

    A ratio of two counts, (n − 1)/n, is not explained: 16 of 20 gives it, too.
    """

    def equals(value: float) -> bool:
        return abs(factor - value) < EXACT * abs(value)

    lengths = {n for a in e.inputs.values() for n in _lengths(a)}
    for n in lengths:
        if equals(n):
            yield f"{n}, a sum in place of a mean"
        if equals(1 / n):
            yield f"1/{n}, a mean in place of a sum"
        if equals(n**0.5):
            yield f"√{n}"
        if equals(n**-0.5):
            yield f"1/√{n}"
    for dy in e.dy:
        if dy.ndim == 0 and equals(1 / float(dy)):
            yield "the factor dy is missing"
    for name, ids in e.inputs.items():
        valid = (ids != -1).sum()
        if ids.dtype.kind == "i" and 0 < valid < ids.size and equals(valid / ids.size):
            yield f"{valid}/{ids.size}, a mean that counts the ignored {name}, too"


def _lengths(array: np.ndarray) -> Iterator[int]:
    """Yield how many terms a sum over some of an array's axes may have, if more than two."""
    counts = {array.size, *array.shape, *(int(np.prod(array.shape[:k])) for k in range(1, 4))}
    if array.dtype.kind == "i":
        counts.add(int((array != -1).sum()))
    yield from (n for n in counts if n > 2)


def _rows(e: Evidence) -> Iterator[str]:
    """Yield what is wrong with single rows: overwritten, not ignored, or lost."""
    size = np.abs(e.oracle).max(initial=0)
    off = np.abs(e.ours - e.oracle) > EXACT * size
    for name, ids in e.inputs.items():
        if ids.dtype.kind not in "iu":
            continue
        if e.ours.ndim and _last_wins(e, ids, np.flatnonzero(off.reshape(len(off), -1).any(1))):
            yield f"a repeated value of {name} overwrites where it should add (.set for .add?)"
        if ids.ndim and off.shape[: ids.ndim] == ids.shape:
            places = off.reshape(*ids.shape, -1).any(-1)
            if (ids[places] == -1).all() and not e.oracle[places].any():
                yield f"it is not zero where {name} is −1, ignored"
    if e.ours.ndim:
        rows = np.flatnonzero(off.reshape(len(off), -1).any(1))
        if len(rows) == 1 < len(off) and not e.ours[rows].any():
            yield f"row {rows[0]} is lost: zero where it should not be"


def _last_wins(e: Evidence, ids: np.ndarray, rows: np.ndarray) -> bool:
    """Whether each wrong row holds dy at one of the places of its id, which are several."""
    for dy in e.dy:
        if dy.shape == ids.shape + e.ours.shape[1:]:
            return all(
                (ids == row).sum() > 1
                and any(np.allclose(e.ours[row], d, rtol=EXACT, atol=0) for d in dy[ids == row])
                for row in rows
            )
    return False


def _missing_term(e: Evidence) -> Iterator[str]:
    """Yield terms that were left out or have a wrong factor."""
    missing = e.oracle - e.ours
    for dy in e.dy:
        if dy.shape == missing.shape and _same(e, missing, dy):
            yield "dy itself is missing from the sum (a skip path?)"
    x = e.inputs[e.argument]
    for axes in {(axis,) for axis in range(x.ndim)} | {tuple(range(x.ndim - 1))}:
        if np.prod([x.shape[axis] for axis in axes]) < 3:
            continue
        over = f"over ax{'i' if len(axes) == 1 else 'e'}s {' and '.join(map(str, axes))}"
        constant = _same(e, missing, missing.mean(axes, keepdims=True))
        if constant and np.abs(e.oracle.sum(axes)).max() <= 1e-9 * e.scale:
            yield f"the term that makes it sum to zero {over} is missing or wrong"
        centred = x - x.mean(axes, keepdims=True)
        along = (missing * centred).sum(axes, keepdims=True) / (centred**2).sum(axes, keepdims=True)
        if _same(e, missing, along * centred):
            term = f"the term along {e.argument} − its mean {over} (as of a variance)"
            yield f"{term} is missing or wrong"
    for y in e.y:
        if y.shape == e.ours.shape and y.ndim:
            for axis in range(y.ndim):
                if _same(e, e.oracle, e.ours - y * e.ours.sum(axis, keepdims=True)):
                    yield f"the sum over axis {axis} (as a softmax's row sum) is missing or wrong"


def _missing_factor(e: Evidence) -> Iterator[str]:
    """Yield a missing local derivative, or a factor that is one of the arguments."""
    for dy in e.dy:
        if dy.shape == e.ours.shape and _same(e, e.ours, dy):
            yield "dy is passed on as it is: the local derivative is missing"
    for name, x in e.inputs.items():
        if x.dtype.kind != "f" or x.size == 1 or np.ptp(x) == 0:
            continue
        try:
            if np.broadcast_shapes(x.shape, e.ours.shape) != e.ours.shape:
                continue
        except ValueError:
            continue
        if _same(e, e.ours * x, e.oracle):
            yield f"the factor {name} is missing"
        elif _same(e, e.ours, e.oracle * x):
            yield f"the factor {name} is there once too often"


def where(wrong: np.ndarray) -> str:
    """Describe how much of an array is wrong, and in which slice if all of it lies in one.

    >>> where(np.array([[False, True], [False, True], [False, True]]))
    '3 of 6 elements, all those in [:, 1]'
    """
    count = int(wrong.sum())
    if count == wrong.size:
        return f"all {count} elements" if count > 1 else "the one element"
    text = f"{count} of {wrong.size} elements"
    for axis in range(wrong.ndim):
        others = tuple(i for i in range(wrong.ndim) if i != axis)
        hit = np.flatnonzero(wrong.any(others))
        if len(hit) == 1 and wrong.ndim > 1:
            index = ", ".join(str(hit[0]) if i == axis else ":" for i in range(wrong.ndim))
            whole = "all those" if wrong.take(hit[0], axis).all() else "all"
            return f"{text}, {whole} in [{index}]"
    return text
