"""Every primitive that the page runs, alone, on odd shapes, against JAX."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxmore.errors import InputError
from jaxmore.explore.export import PARAMETERS, export
from tests.explore.node import run_programs

rng = np.random.default_rng(0)


def f(*shape: int) -> np.ndarray:
    return rng.normal(size=shape)


def i(bound: int, *shape: int) -> np.ndarray:
    return rng.integers(-bound, bound, shape)


def positive(*shape: int) -> np.ndarray:
    return np.abs(f(*shape)) + 0.1


UNARY = [lax.neg, lax.exp, lax.tanh, lax.abs, lax.sign, lax.floor, lax.expm1, lax.logistic]
POSITIVE = [lax.log, lax.sqrt, lax.rsqrt, lax.log1p]
BINARY = [lax.add, lax.sub, lax.mul, lax.div, lax.max, lax.min]
COMPARE = [lax.eq, lax.ne, lax.lt, lax.le, lax.gt, lax.ge]

CASES: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    *((op, (f(3, 5),)) for op in (*UNARY, lax.square)),
    *((op, (positive(7, 2),)) for op in POSITIVE),
    *((op, (f(3, 5), f(3, 5))) for op in BINARY),
    *((op, (i(2, 3, 5), i(2, 3, 5))) for op in COMPARE),
    (lax.div, (i(9, 5), np.array([1, 2, 3, 5, 7]))),
    (lax.pow, (positive(3, 1), f(3, 1))),
    (lambda x: x + x[:1], (f(3, 5),)),
    (lambda x, y: x * y, (f(3, 1), f(1, 5))),
    (lambda x: lax.integer_pow(x, 2), (f(4, 3),)),
    (lambda x: lax.integer_pow(x, -3), (positive(4, 3),)),
    (lambda x, y: (x > 0) & (y > 0) | (x < -1), (f(5), f(5))),
    (lambda x: ~(x > 0), (f(5),)),
    (lambda x: lax.is_finite(x / (x - x[0])), (f(5),)),
    (lambda x, y: jnp.where(x > 0, x, y), (f(3, 5), f(3, 5))),
    (lambda x: x.astype(bool), (i(2, 7),)),
    (lambda x: x.astype(int), (10 * f(7),)),
    (lambda x: lax.broadcast_in_dim(x, (2, 3, 5), (0, 2)), (f(2, 1),)),
    (lambda x: lax.broadcast_in_dim(x, (3, 5), ()), (f(),)),
    (lambda x: x.reshape(5, 6), (f(2, 3, 5),)),
    (lambda x: lax.squeeze(x, (0, 2)), (f(1, 3, 1),)),
    (lambda x: lax.expand_dims(x, (0, 2)), (f(3, 5),)),
    (lambda x: x.transpose(2, 0, 1), (f(2, 3, 5),)),
    (lambda x: lax.slice(x, (1, 0), (5, 4), (2, 3)), (f(6, 5),)),
    (lambda x: lax.rev(x, (1,)), (f(3, 4),)),
    (lambda x: lax.pad(x, 7.5, ((1, 2, 1), (-1, 3, 0))), (f(3, 4),)),
    (lambda x, y: jnp.concatenate([x, y, x], 1), (f(3, 2), f(3, 5))),
    (lambda x, y: jnp.stack([x, y], 1), (f(3, 2), f(3, 2))),
    (lambda x: jnp.unstack(x, axis=1), (f(2, 3, 5),)),
    (lambda x: x + lax.broadcasted_iota(x.dtype, (3, 5), 1), (f(3, 5),)),
    (lambda x: x.sum((0, 2)), (f(2, 3, 5),)),
    (lambda x: x.sum(), (f(2, 3),)),
    (lambda x: x.max(1), (f(2, 3, 5),)),
    (lambda x: x.min(0), (f(2, 3, 5),)),
    (lambda x: x.argmax(1), (i(2, 5, 7),)),
    (lambda x: x.argmin(0), (i(2, 5, 7),)),
    (lambda x: lax.reduce(x, np.asarray(-np.inf, x.dtype), lax.max, (0, 2)), (f(2, 3, 5),)),
    (lambda x: lax.reduce(x, np.asarray(2, x.dtype), lax.mul, (1,)), (f(3, 5),)),
    (lambda x: lax.reduce(x, np.asarray(-np.inf, x.dtype),
                          lambda a, b: jnp.where(a > b, a, b), (1,)), (f(3, 5),)),
    (lambda x: lax.cumsum(x, 1), (f(2, 3, 5),)),
    (lambda x: lax.cumsum(x, 0, reverse=True), (f(3, 5),)),
    (lambda x: lax.split(x, (2, 0, 3), 1), (f(3, 5, 2),)),
    (lax.stop_gradient, (f(3, 5),)),
    (lambda x, y: lax.scan(lambda c, r: (c * r + 1, (c, r @ y)), x[0], x), (f(4, 3), f(3, 2))),
    (lambda x: lax.scan(lambda c, r: (c - r, c), x[1], x, reverse=True), (f(5, 3),)),
    (lambda x: lax.scan(lambda c, _: (c * c, None), x, None, length=3), (f(2, 3),)),
    (lambda x, y: x @ y, (f(3, 5), f(5, 7))),
    (lambda x, y: x @ y, (f(5), f(5, 7))),
    (lambda x, y: jnp.einsum("bij,kjb->bik", x, y), (f(2, 3, 5), f(7, 5, 2))),
    (lambda x, y: jnp.einsum("ijk,jk->i", x, y), (f(2, 3, 5), f(3, 5))),
    (lambda x: lax.optimization_barrier((x, 2 * x)), (f(3),)),
    (lambda x: lax.optimization_barrier(x), (f(3),)),
    (lambda x: jnp.copy(x), (f(3),)),
    (lambda x, ids: x[ids], (f(7, 3), i(7, 5, 2))),
    (lambda x, ids: x.at[ids].get(mode="fill"), (f(7, 3), i(12, 5, 2))),
    (lambda x, ids: x.at[ids].get(mode="clip"), (f(7, 3), i(12, 5, 2))),
    (lambda x, a, b: x[a, :, b], (f(7, 2, 3), i(7, 5), i(3, 5))),
    (lambda x, ids: jnp.take_along_axis(x, ids, 1), (f(3, 7), i(7, 3, 2))),
    (lambda x, ids, y: x.at[ids].add(y), (f(7, 3), i(7, 5, 2), f(5, 2, 3))),
    (lambda x, ids, y: x.at[ids].add(y), (f(7, 3), i(12, 5), f(5, 3))),
    (lambda x, ids, y: x.at[ids].add(y, mode="clip"), (f(7, 3), i(12, 5), f(5, 3))),
    (lambda x, a, b: x.at[a, b].set(-1.5), (f(7, 3), i(7, 5), i(3, 5))),
]  # fmt: skip
# add_any is add under another name, which a hand-written backward pass never makes.
NOT_MADE = {"add_any"}


def _named(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    names = [f"x{k}" for k in range(len(args))]
    outs = jax.tree.leaves(jax.eval_shape(function, *args))
    return export(function, args, names, [f"y{k}" for k in range(len(outs))])


@pytest.mark.quick("float64")
def test_every_primitive_equals_jax(dtype):
    def every_function(inputs):
        return [function(*args) for (function, _), args in zip(CASES, inputs, strict=True)]

    inputs = [
        tuple(jnp.array(a, dtype if a.dtype.kind == "f" else "int32") for a in args)
        for _, args in CASES
    ]
    cases = [
        (_named(function, args), {f"x{k}": a for k, a in enumerate(args)})
        for (function, _), args in zip(CASES, inputs, strict=True)
    ]
    # One program for all: to compile each alone takes seconds.
    expected = map(jax.tree.leaves, jax.jit(every_function)(inputs))
    met = {equation["op"] for program, _ in cases for equation in program["equations"]}
    assert met == PARAMETERS.keys() - NOT_MADE
    eps = jnp.finfo(dtype).eps
    for (program, _), outs, right in zip(cases, run_programs(cases), expected, strict=True):
        ops = [equation["op"] for equation in program["equations"]]
        for ours, theirs in zip(outs.values(), right, strict=True):
            assert ours.shape == theirs.shape, ops
            np.testing.assert_allclose(ours, theirs, rtol=8 * eps, atol=8 * eps, err_msg=str(ops))


def test_refuses_by_name():
    with pytest.raises(InputError, match="cannot run the primitive erf"):
        _named(jax.scipy.special.erf, (jnp.ones(3),))
    with pytest.raises(InputError, match="cannot run a reduce of several arrays"):
        _named(
            lambda x: lax.reduce((x, x), (0.0, 0.0), lambda a, b: (a[0] + b[0], a[1] + b[1]), (0,)),
            (jnp.ones(3),),
        )
    with pytest.raises(InputError, match="cannot hold bfloat16"):
        _named(jnp.tanh, (jnp.ones(3, "bfloat16"),))
