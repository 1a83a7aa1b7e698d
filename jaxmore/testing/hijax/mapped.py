"""Whether the batching rule of a hijax primitive does what vmap of its expansion does."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmore.testing import oracles
from jaxmore.testing.case import Case, all_numpy
from jaxmore.testing.hijax.forward import is_missing, of_some, types_of
from jaxmore.testing.judgement import difference, share
from jaxmore.testing.leaves import is_float
from jaxmore.testing.misuse import explained
from jaxmore.testing.modes import SECOND_ORDER
from jaxmore.testing.oracles.compiled import jit_quickly

VMAP, GRAD, JVP = "vmap", "grad of vmap", "jvp of vmap"
STEP = 2.0**-6
"""The relative difference of the examples of a batch."""
SMALL = 1e-6
"""What is below this share of all values counts as zero by identity."""


def check_vmap(
    case: Case, function: Callable[..., Any], expansion: Callable[..., Any], *, with_jvp: bool
) -> None:
    """Compare values, gradients and tangents under vmap with those of the expansion.

    Args:
        case: the primitive.
        function: applies it to all arguments.
        expansion: what it expands to.
        with_jvp: whether it has a ``jvp``.
    """
    named = zip(case.leaves.names, case.leaves.arrays, strict=True)
    names, arrays = zip(*((n, a) for n, a in named if a is not None), strict=True)
    ours, plain = map(case.leaves.on_arrays, (function, expansion))
    modes = [VMAP] if case.without_autodiff else [VMAP, GRAD, JVP] if with_jvp else [VMAP, GRAD]
    axes = _in_axes(names, arrays)
    missing: dict[str, list[str]] = {}
    for where, in_axes in axes.items():
        missing[where] = _Mapped(case, arrays, in_axes, where).check(ours, plain, modes)
        case.stop_if_wrong()
    for mode in modes:
        places = [where for where, lacking in missing.items() if mode in lacking]
        if places:
            which = [mode] if len(places) == len(axes) else [f"{mode} {where}" for where in places]
            case.report.not_provided += which


def _in_axes(names: Sequence[str], arrays: Sequence[Any]) -> dict[str, list[int | None]]:
    """Return the axes to map over, in words and as ``jax.vmap`` takes them; of keys none."""
    keys = [jnp.issubdtype(a.dtype, jax.dtypes.prng_key) for a in arrays]
    first = [None if key else 0 for key in keys]
    last = [None if key else a.ndim for key, a in zip(keys, arrays, strict=True)]
    axes: dict[str, list[int | None]] = {"along the first axis": first, "along the last axis": last}
    if first == last:
        del axes["along the last axis"]
    places = [i for i, key in enumerate(keys) if not key]
    for place in places if len(keys) > 1 else ():
        axes[f"of {names[place]} alone"] = [0 if i == place else None for i in range(len(keys))]
    return axes


class _Mapped:
    """The arguments of a primitive, some of them batched, with a cotangent and a direction."""

    def __init__(
        self, case: Case, arrays: Sequence[Any], in_axes: Sequence[int | None], where: str
    ) -> None:
        used = {n for a in arrays for n in a.shape}
        self.size = next(n for n in range(2, len(used) + 3) if n not in used)
        self.case, self.in_axes, self.where = case, in_axes, where
        self.places = [i for i, a in enumerate(arrays) if is_float(a)]
        self.arrays = [
            a if axis is None else self._examples(a, axis)
            for a, axis in zip(arrays, in_axes, strict=True)
        ]

    def _examples(self, array: Any, axis: int) -> Any:
        if not is_float(array):  # other ids of the same range
            flat = jnp.ravel(array)
            return jnp.stack(
                [jnp.roll(flat, k).reshape(array.shape) for k in range(self.size)], axis
            )
        return jnp.stack([array * (1 - k * STEP) for k in range(self.size)], axis)

    def check(
        self, ours: Callable[..., Any], plain: Callable[..., Any], modes: Sequence[str]
    ) -> list[str]:
        """Report what is wrong; return the modes that the primitive does not provide."""
        case = self.case
        mapped, right = (jax.vmap(f, self.in_axes) for f in (ours, plain))
        ys = jax.eval_shape(right, *self.arrays)
        dys = [jnp.asarray(case.random.normal(size=y.shape), y.dtype) for y in ys]
        shapes = [self.arrays[i].shape for i in self.places]
        vs = [jnp.asarray(case.random.normal(size=shape)) for shape in shapes]

        def both(given: Sequence[str]) -> Any:
            def run(*args: Any) -> Any:
                return self._run(mapped, given, *args), self._run(right, given, *args)

            return jit_quickly(run)(self.arrays, dys, vs)

        given = list(modes)
        try:
            found, expected = both(given)
        except Exception:  # one of them: which?
            given = self._working(mapped, modes, ys, dys, vs)
            case.stop_if_wrong()
            if not given:
                return [VMAP]
            found, expected = both(given)
        looped = self._one_by_one(ours)
        for mode in given:
            again = partial(self._run, looped, [mode], self.arrays, dys, vs)
            self._compare(mode, found[mode], expected[mode], again)
            case.stop_if_wrong()
        return [mode for mode in modes if mode not in given]

    def _working(
        self, mapped: Callable[..., Any], modes: Sequence[str], ys: Any, dys: Any, vs: Any
    ) -> list[str]:
        """Return the modes that the primitive provides, and report those that fail."""
        case, given = self.case, list[str]()
        for mode in modes:
            try:
                value = jax.eval_shape(partial(self._run, mapped, [mode]), self.arrays, dys, vs)
            except Exception as error:  # whatever a user's primitive raises
                if is_missing(error):
                    if mode == VMAP:
                        return []
                    continue
                case.add("vmap", f"{mode} {self.where} fails: {explained(error)}")
                return []
            if mode == VMAP and types_of(value[VMAP]) != types_of(ys):
                returned = types_of(value[VMAP])
                case.add("vmap", f"vmap {self.where} returns {returned}, not {types_of(ys)}")
                return []
            given.append(mode)
        return given

    def _run(
        self, function: Callable[..., Any], modes: Sequence[str], arrays: Any, dys: Any, vs: Any
    ) -> dict[str, Any]:
        """Return the value of a mapped function, its cotangents, its tangent."""
        of_floats = of_some(function, arrays, self.places)
        floats = [arrays[i] for i in self.places]
        runs: dict[str, Callable[[], Any]] = {
            VMAP: lambda: of_floats(*floats),
            GRAD: lambda: oracles.cotangents(of_floats, floats, dys),
            JVP: lambda: oracles.pushed(of_floats, floats, vs)[1],
        }
        return {mode: runs[mode]() for mode in modes}

    def _one_by_one(self, function: Callable[..., Any]) -> Callable[..., list[Any]]:
        """Return what ``vmap`` of a function is, without ``vmap``."""

        def looped(*arrays: Any) -> list[Any]:
            pairs = list(zip(arrays, self.in_axes, strict=True))
            values = [
                function(*(a if axis is None else jnp.take(a, k, axis) for a, axis in pairs))
                for k in range(self.size)
            ]
            return [jnp.stack(examples) for examples in zip(*values, strict=True)]

        return looped

    def _compare(
        self,
        mode: str,
        value: Sequence[Any],
        right: Sequence[Any],
        again: Callable[[], dict[str, Any]],
    ) -> None:
        case = self.case
        ours, expected = all_numpy(value), all_numpy(right)
        off = list(map(difference, ours, expected))
        scales = self._scales(mode, expected)
        if mode != VMAP and not all(map(_agrees, off, scales)):
            # At a kink a rule may take another slope than its expansion does, mapped or not.
            own = map(difference, ours, all_numpy(again()[mode]))
            off = list(map(np.minimum, off, own))
        for i, (o, scale) in enumerate(zip(off, scales, strict=True)):
            if not _agrees(o, scale):
                name = case.leaves.float_names[i] if mode == GRAD else None
                text = f"{mode} {self.where}: {name or f'output {i}'} is off by "
                case.add("vmap", f"{text}{share(o, scale):.1g} of its size", name)

    def _scales(self, mode: str, expected: Sequence[np.ndarray]) -> list[float]:
        sizes = list(map(_size, expected))
        wholes = list(map(_size, self.case.scales[0]))
        if mode == GRAD:
            return list(map(max, sizes, wholes))
        return [max(size, SMALL * max(*sizes, *wholes, 0.0)) for size in sizes]


def _size(array: np.ndarray) -> float:
    return float(np.nan_to_num(np.abs(array), nan=0, posinf=0).max(initial=0))


def _agrees(off: np.ndarray, scale: float) -> bool:
    return share(off, scale) <= SECOND_ORDER
