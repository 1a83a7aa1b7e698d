"""Which slopes are right where the forward has a kink: the generalised gradient.

At a kink (relu at 0, a tie for a maximum) a slope is right if it lies in Clarke's generalised
gradient, the convex hull of the gradients at points nearby. A hull says more than a bound for each
element: of a maximum over three tied elements, the slopes have to sum to one.

Source: Clarke, Optimization and Nonsmooth Analysis (1983), section 2.5.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import nnls

NEARBY = 2.0**-34
"""How far a nearby point is away, relative to the element."""
PROBES = 128
"""How many kinks are looked at, at most."""
BEND = 1e-3
"""How much of its scale a gradient has to change to be that of a kink."""


class Kinks:
    """The kinks at one point of a scalar function, found by its gradients nearby.

    Args:
        gradient: the function's gradient by autodiff, flat to flat.
        point: where, flat.
        scale: the condition scale of each element of the gradient.
    """

    def __init__(
        self, gradient: Callable[[np.ndarray], np.ndarray], point: np.ndarray, scale: np.ndarray
    ) -> None:
        self._gradient, self._point = gradient, point
        nonzero = np.abs(point[np.isfinite(point) & (point != 0)])
        typical = float(np.median(nonzero)) if nonzero.size else 1.0
        size = np.where(point != 0, np.abs(point), min(1.0, typical))
        self._step = np.where(np.isfinite(size), np.maximum(size, 1e-290) * NEARBY, 0)
        self._scale = np.where(np.isfinite(scale), scale, 0)
        signs = np.random.default_rng(0).choice([-1.0, 1.0], point.shape)
        at_point = gradient(point)
        self._base = np.where(np.isfinite(at_point), at_point, self._at(signs))

    def excused(self, wanted: np.ndarray, ours: np.ndarray, by_autodiff: np.ndarray) -> np.ndarray:
        """Return which of the wanted elements lie at kinks where ``ours`` is right.

        Args:
            wanted: flat indices.
            ours: the whole gradient to be judged, flat.
            by_autodiff: whether an element equals autodiff's, whose choice is right, too.
        """
        right: set[int] = set()
        seen: set[int] = set()
        for q in map(int, wanted[:PROBES]):
            if q in seen:
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
        return np.isin(wanted, list(right))

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
                group += [int(j) for j in moved if j not in group][: PROBES - len(group)]
        return group, np.array(nearby)

    def _in_hull(self, group: np.ndarray, nearby: np.ndarray, ours: np.ndarray) -> bool:
        size = self._size(list(group), nearby)
        target = ours[group] / size
        if not np.isfinite(target).all():
            return False
        vertices = list(nearby[:, group] / size)
        for _ in range(2 * len(group) + 4):
            rest = target - _project(np.array(vertices), target)
            if np.abs(rest).max() <= 1e-6:
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
