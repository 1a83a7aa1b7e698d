"""Functions that are equal by value, so that ``jax.jit`` compiles equal ones once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


class HashableArray:
    """An array that hashes and compares by its contents."""

    def __init__(self, array: jax.Array) -> None:
        self.array = array
        is_key = jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
        values = np.asarray(jax.random.key_data(array) if is_key else array)
        self._content = (str(array.dtype), array.shape, values.tobytes())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HashableArray) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)


@dataclass(frozen=True)
class WithOptions:
    """A function with its keyword options; unlike ``partial``, it compares by value."""

    function: Callable[..., Any]
    options: tuple[tuple[str, Any], ...] = ()
    first: bool = False
    """Whether to return only the first of the values that ``function`` returns."""

    def __call__(self, *args: Any) -> Any:
        value = self.function(*args, **dict(self.options))
        return value[0] if self.first else value


@dataclass(frozen=True)
class FloatFunction:
    """A function of a rule's arguments as a function of the float arrays among them.

    It compares by value and may be a static argument of ``jax.jit``.
    """

    function: Callable[..., Any]
    tree: Any
    places: tuple[int, ...]
    others: tuple[HashableArray | None, ...]
    float_outputs: bool = False
    """Whether to return a list of the float arrays among the leaves of its value."""

    def __call__(self, *floats: Any) -> Any:
        arrays = [other and other.array for other in self.others]
        for i, value in zip(self.places, floats, strict=True):
            arrays[i] = value
        value = self.function(*jax.tree.unflatten(self.tree, arrays))
        if not self.float_outputs:
            return value
        return [y for y in jax.tree.leaves(value) if jnp.issubdtype(y.dtype, jnp.floating)]
