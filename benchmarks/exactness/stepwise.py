"""Exercise 1: the 26 lines of ``jaxmore.ninja.stepwise.backward`` beside torch, bit by bit."""

import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks.exactness.rules import ratio, ulps
from jaxmore import stepwise
from jaxmore.ninja.comparison import autodiff_cotangents
from jaxmore.ninja.stepwise import Cotangents, Intermediates, Parameters
from jaxmore.testing.oracles import bind
from reference import stepwise as reference

B, T, V, E, H = 32, 3, 27, 10, 64
SEEDS = 30


class Step(NamedTuple):
    """One cotangent of the network at the seeds' size, over all seeds."""

    name: str
    size: int
    jitted: float
    """The share of draws in which the line, given torch's values and torch's cotangents of what
    comes after, gives torch's bits throughout; compiled."""
    eager: float
    """The same, operation by operation."""
    chained: float
    """The same, compiled, from torch's values and our own cotangents."""
    ulp: int
    """The most float32 numbers between an element of the compiled line and torch's."""
    worst: dict[str, float]
    """By way: the largest error, over the largest element of the truth of its draw."""
    rms: dict[str, float]
    seeds: int

    @property
    def ratio(self) -> float:
        """Our RMS error over that of the better autodiff."""
        return ratio(self.rms)


def measure(seeds: int = SEEDS) -> list[Step]:
    """The table of the 26 lines, in their order."""
    found: dict[str, list[Any]] = {name: [] for name in Cotangents._fields}
    compiled = jax.jit(line_by_line)
    for seed in range(seeds):
        params, X, Y = draw(seed)
        values, theirs = by_torch(params, X, Y)
        arguments = params, X, Y, values
        jitted = compiled(*arguments, theirs)
        eager = line_by_line(*arguments, theirs)
        chained = stepwise.backward(*arguments)
        ours = stepwise.backward(params, X, Y, stepwise.forward(params, X, Y))
        autodiff = _named(autodiff_cotangents(params, X, Y))
        with jax.enable_x64(True):
            wide = jax.tree.map(lambda a: jnp.asarray(a, "float64"), params)
            truth = _named(autodiff_cotangents(wide, X, Y))
        for name in Cotangents._fields:
            of = [getattr(c, name) for c in (jitted, eager, chained, ours)]
            row = *of, autodiff[name], getattr(theirs, name), truth[name]
            found[name].append([np.asarray(a) for a in row])
    return [_summary(name, rows) for name, rows in found.items()]


def draw(seed: int) -> tuple[Parameters, jax.Array, jax.Array]:
    """Generic parameters at the seeds' scales, contexts and targets."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int, std: float = 1.0, mean: float = 0.0) -> jax.Array:
        return jnp.array(mean + std * rng.normal(size=shape), "float32")

    params = Parameters(
        C=normal(V, E),
        W1=normal(T * E, H, std=5 / 3 / (T * E) ** 0.5),
        b1=normal(H, std=0.1),
        W2=normal(H, V, std=0.1),
        b2=normal(V, std=0.1),
        bngain=normal(1, H, std=0.1, mean=1.0),
        bnbias=normal(1, H, std=0.1),
    )
    X, Y = rng.integers(0, V, (B, T)), rng.integers(0, V, B)
    return params, jnp.array(X, "int32"), jnp.array(Y, "int32")


def by_torch(params: Parameters, X: jax.Array, Y: jax.Array) -> tuple[Intermediates, Cotangents]:
    """torch's intermediates and the gradients that it retains for them, in float32."""
    leaves = {
        name: torch.tensor(np.asarray(value), requires_grad=True)
        for name, value in params._asdict().items()
    }
    ids, targets = (torch.tensor(np.asarray(a)).long() for a in (X, Y))
    values = reference.forward(leaves, ids, targets)
    values["loss"].backward()
    everything = values | leaves
    return (
        Intermediates(**{k: jnp.array(v.detach().numpy()) for k, v in values.items()}),
        Cotangents(*(jnp.array(everything[k].grad.numpy()) for k in Cotangents._fields)),
    )


def line_by_line(
    params: Parameters,
    X: jax.Array,
    Y: jax.Array,
    values: Intermediates,
    theirs: Cotangents,
) -> Cotangents:
    """``stepwise.backward`` in which each line is given torch's cotangents of the lines before.

    The operations are those of its jaxpr; where one makes a cotangent, ours is noted and torch's
    put in its place.
    """
    backward = inspect.unwrap(stepwise.backward)
    graph = jax.make_jaxpr(backward)(params, X, Y, values)
    names = dict(zip(graph.jaxpr.outvars, Cotangents._fields, strict=True))
    known: dict[Any, Any] = dict(
        zip(graph.jaxpr.invars, jax.tree.leaves((params, X, Y, values)), strict=True)
    )
    known |= dict(zip(graph.jaxpr.constvars, graph.consts, strict=True))
    ours: dict[str, Any] = {}
    for equation in graph.jaxpr.eqns:
        operands = [a.val if hasattr(a, "val") else known[a] for a in equation.invars]
        for variable, value in zip(equation.outvars, bind(equation, operands), strict=True):
            known[variable] = value
            if variable in names:
                ours[names[variable]] = value
                known[variable] = getattr(theirs, names[variable])
    return Cotangents(**ours)


def _named(cotangents: tuple[Parameters, Intermediates]) -> dict[str, Any]:
    of_parameters, of_intermediates = cotangents
    return of_intermediates._asdict() | of_parameters._asdict()


def _summary(name: str, rows: list[Any]) -> Step:
    jitted, eager, chained, ours, autodiff, theirs, truth = (
        np.stack(column) for column in zip(*rows, strict=True)
    )
    axes = tuple(range(1, truth.ndim))
    errors = {
        way: np.abs(value.astype(np.float64) - truth)
        for way, value in (("by hand", ours), ("jax.grad", autodiff), ("torch", theirs))
    }
    largest = np.abs(truth).max(axes, keepdims=True)
    largest[largest < 1e-12] = 1  # zero by identity
    return Step(
        name,
        size=truth[0].size,
        jitted=float((jitted == theirs).all(axes).mean()),
        eager=float((eager == theirs).all(axes).mean()),
        chained=float((chained == theirs).all(axes).mean()),
        ulp=int(ulps(jitted, theirs).max()),
        worst={way: float((e / largest).max()) for way, e in errors.items()},
        rms={way: float(np.sqrt((e * e).mean())) for way, e in errors.items()},
        seeds=len(rows),
    )
