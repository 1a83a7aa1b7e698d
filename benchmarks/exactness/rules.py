"""Every rule on every family of arguments: three gradients in float32, and the truth."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import torch

from benchmarks.contestants.grad_scan import jax_tanh
from jaxmore import rules
from jaxmore.testing.arguments import parse_args
from jaxmore.testing.rule import names_of
from jaxmore.testing.shipped import FAMILIES, Family
from reference.rules import RULES

SEEDS = 4000
"""Draws of a family: nearly all the error of some families is that of a few draws, in which two
large scores all but tie. Of 200 draws such a ratio came out at 3.7, of 4000 at 1.0."""

mpmath.mp.dps = 30


class Measured(NamedTuple):
    """One cotangent of one rule on one family, over all seeds. Errors are absolute."""

    rule: str
    family: Family
    argument: str
    size: int
    equal: float
    """The share of elements that equal torch's bit for bit."""
    ulp: int
    """The most float32 numbers that lie between an element of ours and torch's."""
    worst: dict[str, float]
    """By way: the largest error, over the largest element of the truth of its seed."""
    rms: dict[str, float]
    """By way: the root of the mean squared error over all elements of all seeds."""

    @property
    def ratio(self) -> float:
        """Our RMS error over that of the better autodiff."""
        return ratio(self.rms)


def ratio(rms: dict[str, float]) -> float:
    """The RMS error by hand over that of the better autodiff; 1 where both are exact."""
    best = min(rms["jax.grad"], rms["torch"])
    return rms["by hand"] / best if best else np.inf if rms["by hand"] else 1.0


def measure(name: str, family: Family, seeds: int = SEEDS) -> Iterator[Measured]:
    """The float cotangents of a rule, one after the other."""
    op, fwd, bwd = (getattr(rules, name + suffix) for suffix in ("", "_fwd", "_bwd"))
    draws = [parse_args(family.arguments, seed=seed) for seed in range(seeds)]
    places = [i for i, a in enumerate(draws[0]) if _is_float(a)]
    shapes = jax.eval_shape(partial(op, **family.options), *draws[0])
    rng = np.random.default_rng(0)
    dys = [
        jax.tree.map(lambda s: np.asarray(rng.normal(size=s.shape), np.float32), shapes)
        for _ in draws
    ]

    def by_hand(args: Any, dy: Any) -> Any:
        cotangents = bwd(fwd(*args, **family.options)[1], dy, **family.options)
        return [cotangents[i] for i in places]

    def by_autodiff(args: Any, dy: Any) -> Any:
        def plain(floats: Any) -> Any:
            given = dict(zip(places, floats, strict=True))
            return op(*(given.get(i, a) for i, a in enumerate(args)), **family.options)

        with jax_tanh():
            return jax.vjp(plain, [args[i] for i in places])[1](dy)[0]

    # One program for a draw, run for each: vmap would make another.
    every = jax.tree.map(lambda *a: jnp.stack(a), *zip(draws, dys, strict=True))
    values = {
        way: jax.jit(partial(jax.lax.map, lambda pair, way=function: way(*pair)))(every)
        for way, function in (("by hand", by_hand), ("jax.grad", by_autodiff))
    }
    theirs = [by_torch(name, *draw, family.options) for draw in zip(draws, dys, strict=True)]
    values["torch"] = [np.stack(column) for column in zip(*theirs, strict=True)]
    truths = _truths(name, family, draws, dys, by_autodiff)
    for n, place in enumerate(places):
        argument = names_of(fwd, draws[0])[place]
        of_ways = {way: np.asarray(value[n]) for way, value in values.items()}
        yield _summary(name, family, argument, of_ways, truths[n])


def _truths(
    name: str, family: Family, draws: list[Any], dys: list[Any], by_autodiff: Callable[..., Any]
) -> list[np.ndarray]:
    """The cotangents by autodiff in float64, or by mpmath where float64 loses digits too."""
    draws, dys = jax.tree.map(_widen, (draws, dys))
    if name in SLOPES:
        slope = np.vectorize(SLOPES[name](**family.options), otypes=[np.float64])
        return [np.stack([slope(x) * dy for (x,), dy in zip(draws, dys, strict=True)])]
    if name == "dropout":  # with x64 on, jax would draw another mask from the key
        theirs = [by_torch(name, *draw, family.options) for draw in zip(draws, dys, strict=True)]
        return [np.stack(column) for column in zip(*theirs, strict=True)]
    with jax.enable_x64(True):
        every = jax.tree.map(lambda *a: jnp.stack(a), *zip(draws, dys, strict=True))
        truths = jax.jit(partial(jax.lax.map, lambda pair: by_autodiff(*pair)))(every)
        return [np.asarray(truth) for truth in truths]


def _is_float(a: Any) -> bool:
    return isinstance(a, np.ndarray) and np.issubdtype(a.dtype, np.floating)


def _widen(a: Any) -> Any:
    return a.astype(np.float64) if _is_float(a) else a


def by_torch(name: str, args: Any, dy: Any, options: dict[str, Any]) -> list[np.ndarray]:
    """torch's autograd on the same numbers."""
    leaves: list[Any] = []
    for a in args:
        if _is_float(a):
            leaves.append(torch.tensor(a, requires_grad=True))
        elif isinstance(a, np.ndarray):
            leaves.append(torch.tensor(a.astype(np.int64)))
        elif a is not None:  # a key: torch is given the mask that is drawn from it
            mask = rules.dropout_fwd(args[0], a, **options)[1]
            leaves.append(torch.tensor(np.asarray(mask)))
        else:
            leaves.append(None)
    y = RULES[name](*leaves, **options)
    torch.autograd.backward(
        jax.tree.leaves(y), [torch.tensor(np.asarray(d)) for d in jax.tree.leaves(dy)]
    )
    floats = [leaf for leaf in leaves if leaf is not None and leaf.requires_grad]
    return [leaf.grad.numpy() for leaf in floats]


def _summary(
    rule: str, family: Family, argument: str, values: dict[str, np.ndarray], truth: np.ndarray
) -> Measured:
    truth = truth.reshape(len(truth), -1)
    values = {way: value.reshape(truth.shape) for way, value in values.items()}
    largest = np.abs(truth).max(1, keepdims=True, initial=0)
    largest[largest < TINY] = 1
    errors = {way: np.abs(value.astype(np.float64) - truth) for way, value in values.items()}
    ours, theirs = values["by hand"], values["torch"]
    return Measured(
        rule,
        family,
        argument,
        size=truth.shape[1],
        equal=float((ours == theirs).mean()),
        ulp=int(ulps(ours, theirs).max(initial=0)),
        worst={way: float((e / largest).max(initial=0)) for way, e in errors.items()},
        rms={way: float(np.sqrt((e * e).mean())) for way, e in errors.items()},
    )


TINY = 1e-12
"""A truth that is nowhere larger is 0 by identity, and errors are then given as they are."""


def ulps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How many steps from one float32 number to the next lie between a and b."""

    def place(x: np.ndarray) -> np.ndarray:
        bits = x.astype(np.float32).view(np.int32).astype(np.int64)
        return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)

    return np.abs(place(a) - place(b))


# Slopes with all their digits: in the tails float64 loses as many as 1 − y² cancels.
def _tanh() -> Callable[[float], Any]:
    return lambda x: mpmath.sech(x) ** 2


def _sigmoid() -> Callable[[float], Any]:
    return lambda x: (mpmath.sech(mpmath.mpf(x) / 2) / 2) ** 2


def _gelu(approximate: bool) -> Callable[[float], Any]:
    def exact(x: float) -> Any:
        return mpmath.ncdf(x) + x * mpmath.npdf(x)

    def by_tanh(x: float) -> Any:
        x = mpmath.mpf(x)
        root, cubic = mpmath.sqrt(2 / mpmath.pi), mpmath.mpf("0.044715")
        u = root * (x + cubic * x**3)
        # ½ (1 + tanh u) = 1 / (1 + exp(−2u)): no digit is lost where u is far below zero.
        return 1 / (1 + mpmath.exp(-2 * u)) + x / 2 * mpmath.sech(u) ** 2 * root * (
            1 + 3 * cubic * x * x
        )

    return by_tanh if approximate else exact


SLOPES: dict[str, Callable[..., Callable[[float], Any]]] = {
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "gelu": _gelu,
}


def measure_all(seeds: int) -> Iterator[Measured]:
    """Every rule, every family, every float argument."""
    for name, families in FAMILIES.items():
        for family in families:
            yield from measure(name, family, seeds)
