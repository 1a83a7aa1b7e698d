"""The arguments of a rule as a flat list of named arrays, and functions of them.

The functions are equal by value, so that ``jax.jit`` compiles equal ones once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmore.testing.misuse import refuse_leaf


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


class Option:
    """A keyword option. It compares by value, or by identity where it cannot be hashed."""

    def __init__(self, name: str, value: Any) -> None:
        self.name, self.value = name, value
        try:
            self._key = hash(value), value
        except TypeError:  # a list, an array
            self._key = id(value), None

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Option)
            and (self.name, type(self.value)) == (other.name, type(other.value))
            and self._key == other._key
        )

    def __hash__(self) -> int:
        return hash((self.name, self._key[0]))


@dataclass(frozen=True)
class WithOptions:
    """A function with its keyword options; unlike ``partial``, it compares by value."""

    function: Callable[..., Any]
    options: tuple[Option, ...] = ()
    first: bool = False
    """Whether to return only the first of the values that ``function`` returns."""

    def __call__(self, *args: Any) -> Any:
        value = self.function(*args, **{option.name: option.value for option in self.options})
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
    """Whether to return only the float arrays of the value, as a list."""

    def __call__(self, *floats: Any) -> Any:
        arrays = [other and other.array for other in self.others]
        for i, value in zip(self.places, floats, strict=True):
            arrays[i] = value
        value = self.function(*jax.tree.unflatten(self.tree, arrays))
        if not self.float_outputs:
            return value
        return [y for y in jax.tree.leaves(value) if is_float(y)]


class StructureError(Exception):
    """The backward function does not return one cotangent of the right dtype for each argument."""

    def __init__(self, message: str, argument: str | None = None) -> None:
        super().__init__(message)
        self.argument = argument


class Leaves:
    """The flattened arguments of a rule, with floats in one dtype, by default float64.

    Attributes:
        names: the names of all leaves.
        arrays: all leaves; None for an optional argument that was left out.
        places: the indices of the float leaves.
        floats: the float leaves.
        float_names: their names.
        has_keys: whether there is a random key among the leaves.
    """

    def __init__(self, args: Sequence[Any], names: Sequence[str], dtype: str = "float64") -> None:
        leaves, self._tree = jax.tree.flatten(tuple(args), is_leaf=lambda leaf: leaf is None)
        self.names = list(names)
        self.arrays = [_array(leaf, name, dtype) for leaf, name in zip(leaves, names, strict=True)]
        self.places = [i for i, a in enumerate(self.arrays) if a is not None and is_float(a)]
        self.floats = tuple(self.arrays[i] for i in self.places)
        self.float_names = [self.names[i] for i in self.places]
        self.has_keys = any(
            a is not None and (a.dtype == "uint32" or jnp.issubdtype(a.dtype, jax.dtypes.prng_key))
            for a in self.arrays
        )

    def on_floats(self, function: Callable[..., Any], float_outputs: bool = False) -> FloatFunction:
        """Return a function of the arguments as a function of the float leaves."""
        others = [None if i in self.places else a for i, a in enumerate(self.arrays)]
        hashable = tuple(a if a is None else HashableArray(a) for a in others)
        return FloatFunction(function, self._tree, tuple(self.places), hashable, float_outputs)

    def on_arrays(self, function: Callable[..., Any]) -> Callable[..., list[Any]]:
        """Return the float outputs of a function as a function of all leaves that are arrays."""
        places = [i for i, array in enumerate(self.arrays) if array is not None]

        def of_arrays(*arrays: Any) -> list[Any]:
            whole: list[Any] = [None] * len(self.arrays)
            for i, array in zip(places, arrays, strict=True):
                whole[i] = array
            value = function(*jax.tree.unflatten(self._tree, whole))
            return [y for y in jax.tree.leaves(value) if is_float(y)]

        return of_arrays

    def cotangents(self, result: Any, floats: Sequence[Any]) -> tuple[Any, ...]:
        """Return the cotangents of the float leaves from the result of a backward function.

        Raises:
            StructureError: if the result breaks the contract of a rule.
        """
        tops = self._tree.num_leaves and jax.tree.unflatten(self._tree, self.names)
        if not isinstance(result, tuple | list):
            raise StructureError(
                f"bwd returns a {type(result).__name__}, not a tuple of cotangents; write (dx,) "
                "where there is one argument"
            )
        if len(result) != len(tops):
            given = f"{len(result)} cotangent{'s' if len(result) != 1 else ''}"
            raise StructureError(f"bwd returns {given} for {len(tops)} arguments")
        # As JAX does, take None for a zero cotangent, of a whole tree too.
        trees = jax.tree.unflatten(self._tree, self.arrays)
        filled = tuple(
            jax.tree.map(lambda _: None, tree, is_leaf=_is_none) if d is None else d
            for d, tree in zip(result, trees, strict=True)
        )
        try:
            flat = self._tree.flatten_up_to(filled)
        except (ValueError, TypeError) as error:
            raise StructureError(f"the cotangents' tree is not the arguments': {error}") from error
        for i, (array, d) in enumerate(zip(self.arrays, flat, strict=True)):
            if array is not None and i not in self.places and not _is_nothing(d):
                raise StructureError(
                    f"{self.names[i]} has no cotangent: None, not {d}", self.names[i]
                )
        taken: list[Any] = []
        for i, name, x in zip(self.places, self.float_names, floats, strict=True):
            d = jnp.zeros_like(x) if flat[i] is None else flat[i]
            if not isinstance(d, jax.Array | np.ndarray):
                raise StructureError(f"{name}: {d!r} in place of a cotangent", name)
            if d.dtype != x.dtype:
                raise StructureError(
                    f"{name}: the cotangent is {d.dtype}, not {x.dtype}: {_widened(d, x)}", name
                )
            taken.append(d)
        return tuple(taken)


def _widened(d: Any, x: Any) -> str:
    """What makes a cotangent of another dtype, and what to do about it."""
    if jnp.finfo(x.dtype).bits < jnp.promote_types(d.dtype, "float16").itemsize * 8:
        return (
            f"a constant of {d.dtype} widens it (a NumPy array or scalar?); cast the cotangent back"
        )
    return (
        "the rule computes in a dtype of its own; keep that of the argument, or check the rule in "
        "that dtype alone (only_dtype)"
    )


def _is_none(leaf: Any) -> bool:
    return leaf is None


def is_float(array: Any) -> bool:
    """Whether an array holds floats, and so has a cotangent."""
    return jnp.issubdtype(array.dtype, jnp.floating)


def _array(leaf: Any, name: str, dtype: str) -> Any:
    if leaf is None:
        return None
    refuse_leaf(name, leaf)
    array = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
    if is_float(array):
        # XLA takes subnormal numbers as zero in some loops and not in others.
        values = np.asarray(array).astype(dtype).astype("float64")
        tiny = float(jnp.finfo(dtype).tiny)
        return jnp.array(np.where(np.abs(values) < tiny, 0, values), dtype)
    if array.dtype in ("int64", "uint64"):  # as where x64 is off
        return jnp.array(array, f"{array.dtype}".replace("64", "32"))
    return jnp.array(array)


def _is_nothing(cotangent: Any) -> bool:
    return cotangent is None or getattr(cotangent, "dtype", None) == jax.dtypes.float0
