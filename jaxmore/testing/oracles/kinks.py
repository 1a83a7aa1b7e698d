"""Which slopes are right where the forward has a kink: the generalised gradient.

At a kink (relu at 0, a tie for a maximum) a slope is right if it lies in Clarke's generalised
gradient, the convex hull of the gradients at points nearby. A hull says more than a bound for each
element: of a maximum over three tied elements, the slopes have to sum to one.

Source: Clarke, Optimization and Nonsmooth Analysis (1983), section 2.5.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy.optimize import nnls

NEARBY = 2.0**-34
"""How far a nearby point is away, relative to the element."""
GROUP = 128
"""How many elements may hang together at one kink, at most."""
SECONDS = 10.0
"""How long to look at kinks. Elements that nobody looked at by then are not judged."""
BEND = 1e-3
"""How much of its scale a gradient has to change to be that of a kink."""


class AtKinks(NamedTuple):
    """What the generalised gradient says, one boolean array for each input."""

    right: list[np.ndarray]
    """Elements that lie at a kink and are right there."""
    unseen: list[np.ndarray]
    """Elements that there was no time to look at."""


def judge_at_kinks(
    gradient: Callable[[tuple[Any, ...]], list[np.ndarray]],
    floats: Sequence[Any],
    ours: Sequence[np.ndarray],
    scales: Sequence[np.ndarray],
    wrong: Sequence[np.ndarray],
    agrees: Sequence[np.ndarray],
    tolerance: float = 1e-6,
    nearby: float = NEARBY,
) -> AtKinks:
    """Find the elements that oracles call wrong, but that are right slopes at a kink.

    Args:
        gradient: the float64 cotangents by autodiff, as a function of the inputs.
        floats: the inputs.
        ours: the cotangents to be judged.
        scales: the condition scale of each of their elements.
        wrong: which elements to look at.
        agrees: which elements equal autodiff's.
        tolerance: how far from the generalised gradient a slope may be, in units of its scale.
        nearby: how far away a nearby point is, relative to the element.
    """
    shapes = [np.shape(x) for x in floats]
    bounds = np.cumsum([int(np.prod(s)) for s in shapes])[:-1]

    def flat(arrays: Any) -> np.ndarray:
        return np.concatenate([np.ravel(a) for a in arrays])

    def split(array: np.ndarray) -> list[np.ndarray]:
        return [a.reshape(s) for a, s in zip(np.split(array, bounds), shapes, strict=True)]

    def flat_gradient(point: np.ndarray) -> np.ndarray:
        return flat(gradient(tuple(map(jnp.asarray, split(point)))))

    everything = flat(wrong)
    wanted = np.flatnonzero(everything)
    point = flat(np.asarray(x, "float64") for x in floats)
    kinks = Kinks(flat_gradient, point, flat(scales), tolerance, nearby)
    right, unseen = kinks.judge(wanted, flat(ours), flat(agrees))
    masks = np.zeros((2, everything.size), bool)
    masks[0, wanted], masks[1, wanted] = right, unseen
    return AtKinks(*map(split, masks))


class Kinks:
    """The kinks at one point of a scalar function, found by its gradients nearby.

    Args:
        gradient: the function's gradient by autodiff, flat to flat.
        point: where, flat.
        scale: the condition scale of each element of the gradient.
        tolerance: how far from the generalised gradient a slope may be, in units of its scale.
        nearby: how far away a nearby point is, relative to the element.
    """

    def __init__(
        self,
        gradient: Callable[[np.ndarray], np.ndarray],
        point: np.ndarray,
        scale: np.ndarray,
        tolerance: float,
        nearby: float,
    ) -> None:
        self._gradient, self._point, self._tolerance = gradient, point, tolerance
        nonzero = np.abs(point[np.isfinite(point) & (point != 0)])
        typical = float(np.median(nonzero)) if nonzero.size else 1.0
        size = np.where(point != 0, np.abs(point), min(1.0, typical))
        self._step = np.where(np.isfinite(size), np.maximum(size, 1e-290) * nearby, 0)
        self._scale = np.where(np.isfinite(scale), scale, 0)
        signs = np.random.default_rng(0).choice([-1.0, 1.0], point.shape)
        at_point = gradient(point)
        self._base = np.where(np.isfinite(at_point), at_point, self._at(signs))

    def judge(
        self, wanted: np.ndarray, ours: np.ndarray, by_autodiff: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return which of the wanted elements are right at a kink, and which were not looked at.

        Args:
            wanted: flat indices.
            ours: the whole gradient to be judged, flat.
            by_autodiff: whether an element equals autodiff's, whose choice is right, too.
        """
        right: set[int] = set()
        seen: set[int] = set()
        unseen = np.zeros(len(wanted), bool)
        deadline = time.monotonic() + SECONDS
        for i, q in enumerate(map(int, wanted)):
            if q in seen:
                continue
            if time.monotonic() > deadline:
                unseen[i] = True
                continue
            group, nearby = self._group(q)
            seen.update(group)
            nearby = nearby[np.isfinite(nearby[:, group]).all(1)]
            if len(nearby) < 2:
                continue
            bends = np.ptp(nearby[:, group], axis=0) > BEND * self._size(group, nearby)
            if not bends.any():
                continue
            if by_autodiff[group].all() or self._in_hull(np.array(group), nearby, ours):
                right.update(g for g, bent in zip(group, bends, strict=True) if bent)
        return np.isin(wanted, list(right)), unseen

    def _group(self, start: int) -> tuple[list[int], np.ndarray]:
        """The elements whose gradients hang together at this kink, and gradients nearby."""
        group, nearby = [start], []
        for q in group:  # grows while it is walked
            for sign in (-1.0, 1.0):
                direction = np.zeros_like(self._point)
                direction[q] = sign
                gradient = self._at(direction)
                nearby.append(gradient)
                change = np.abs(gradient - self._base)
                size = np.maximum(self._scale, np.abs(self._base))
                moved = np.flatnonzero(change > BEND * size)
                group += [int(j) for j in moved if j not in group][: GROUP - len(group)]
        return group, np.array(nearby)

    def _in_hull(self, group: np.ndarray, nearby: np.ndarray, ours: np.ndarray) -> bool:
        size = self._size(list(group), nearby)
        target = ours[group] / size
        if not np.isfinite(target).all():
            return False
        vertices = list(nearby[:, group] / size)
        for _ in range(2 * len(group) + 4):
            rest = target - _project(np.array(vertices), target)
            if np.abs(rest).max() <= self._tolerance:
                return True
            # The gradients that lie farthest in the direction that is missing.
            direction = np.zeros_like(self._point)
            direction[group] = rest / np.abs(rest).max()
            farther = [
                g for sign in (-1.0, 1.0)
                if np.isfinite(g := self._at(sign * direction)[group] / size).all()
            ]  # fmt: skip
            reach = max(float(v @ rest) for v in vertices)
            vertices += farther
            if max(float(v @ rest) for v in vertices) <= reach + 1e-9 * np.abs(rest).max():
                return False
        return False

    def _size(self, group: Sequence[int], nearby: np.ndarray) -> np.ndarray:
        return np.maximum(self._scale[list(group)], np.abs(nearby[:, list(group)]).max(0)) + 1e-300

    def _at(self, direction: np.ndarray) -> np.ndarray:
        return self._gradient(self._point + self._step * direction)


def _project(vertices: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the point of a convex hull that is nearest to the target."""
    heavy = 1e4  # the weight of the equation that the coefficients sum to one
    system = np.vstack([vertices.T, np.full(len(vertices), heavy)])
    weights, _ = nnls(system, np.append(target, heavy), maxiter=100 * len(vertices))
    return weights @ vertices / max(weights.sum(), 1e-300)
