"""Evaluate a line of the bank with NumPy, because JAX would compile each of its operations."""

from collections.abc import Mapping
from functools import cache
from types import CodeType, SimpleNamespace
from typing import Any

import numpy as np


def value_of(code: str, names: Mapping[str, Any]) -> np.ndarray:
    """Compute an expression in which ``jnp``, ``jax.nn`` and ``.at`` mean what they mean in JAX."""
    arrays = {name: as_array(value) for name, value in names.items()}
    with np.errstate(all="ignore"):
        return np.array(eval(_compiled(code), _MODULES, arrays), float)


def as_array(value: Any) -> "_Array":
    """Give an array JAX's ``.at``."""
    return np.asarray(value).view(_Array)


class _Array(np.ndarray):
    @property
    def at(self) -> "_At":
        return _At(self)


class _At:
    """``x.at[i].set(v)`` and ``x.at[i].add(v)``."""

    def __init__(self, array: np.ndarray, index: Any = None) -> None:
        self._array, self._index = array.copy(), index

    def __getitem__(self, index: Any) -> "_At":
        return _At(self._array, index)

    def set(self, value: Any) -> np.ndarray:
        self._array[self._index] = value
        return self._array

    def add(self, value: Any) -> np.ndarray:
        np.add.at(self._array, self._index, value)
        return self._array


def _softmax(x: np.ndarray) -> np.ndarray:
    counts = np.exp(x - x.max(-1, keepdims=True))
    return counts / counts.sum(-1, keepdims=True)


def _one_hot(ids: np.ndarray, n_classes: int) -> np.ndarray:
    return (ids[..., None] == np.arange(n_classes)).astype(float)


_MODULES = {
    "jnp": np,
    "jax": SimpleNamespace(nn=SimpleNamespace(softmax=_softmax, one_hot=_one_hot)),
}


@cache
def _compiled(code: str) -> CodeType:
    return compile(code, "<bank>", "eval")
