"""Every primitive alone, on odd shapes, in the page's interpreter against JAX."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxmore.errors import InputError
from jaxmore.explore.program import PARAMS, export
from tests.explore import node

pytestmark = node.needs_node

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(3, 5)), RNG.normal(size=(3, 5))
POSITIVE = np.abs(A) + 0.1
BATCHED, CUBE = RNG.normal(size=(2, 3, 5)), RNG.normal(size=(2, 5, 7))
IDS = np.array([[4, 0, 4], [2, 2, -1], [9, 1, 3]])
INTS = np.array([[-7, 3, 2], [5, -2, 0]])
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5])
TIES = np.array([[1.0, 3.0, 3.0], [np.nan, 7.0, np.nan], [2.0, 2.0, 1.0]])
MODES = ("fill", "clip", "promise_in_bounds")


def unary() -> dict[str, Any]:
    names = {
        "abs": lax.abs, "ceil": lax.ceil, "copy": jnp.copy, "cos": lax.cos, "erf": lax.erf,
        "exp": lax.exp, "exp2": lax.exp2, "expm1": lax.expm1, "floor": lax.floor,
        "is_finite": lax.is_finite, "logistic": lax.logistic, "neg": lax.neg, "sign": lax.sign,
        "sin": lax.sin, "square": lax.square, "tanh": lax.tanh,
        "optimization_barrier": lax.optimization_barrier,
    }  # fmt: skip
    positive = {"log": lax.log, "log1p": lax.log1p, "rsqrt": lax.rsqrt, "sqrt": lax.sqrt}
    return {name: (f, A * 3) for name, f in names.items()} | {
        name: (f, POSITIVE) for name, f in positive.items()
    }


def binary() -> dict[str, Any]:
    names = "add sub mul div max min pow rem eq ne lt le gt ge".split()
    made = {name: (getattr(lax, name), POSITIVE, B) for name in names}
    made |= {f"{name} of one row": (getattr(jnp, long), A, B[:1]) for name, long in [
        ("add", "add"), ("sub", "subtract"), ("mul", "multiply"), ("max", "maximum")]}
    made |= {f"{name} of one column": (getattr(jnp, long), A[:, :1], B) for name, long in [
        ("add", "add"), ("div", "divide"), ("min", "minimum")]}
    made |= {f"{name} of bits": (getattr(lax, f"bitwise_{name}"), INTS, INTS[::-1])
             for name in ("and", "or", "xor")}
    return made  # fmt: skip


CASES: dict[str, Any] = {
    **unary(),
    **binary(),
    "not": (lax.bitwise_not, A > 0),
    "not of integers": (lax.bitwise_not, INTS),
    "special": (lambda x: (jnp.exp(x), jnp.tanh(x), x == x, jnp.maximum(x, 1.0), -x), SPECIAL),
    "div of integers": (lax.div, INTS, INTS * 0 + 2),
    "rem of integers": (lax.rem, INTS, INTS * 0 + 3),
    "clamp": (lambda x: lax.clamp(-0.5, x, 0.25), A),
    "add_any, erf far out": (lax.erf, np.linspace(-7, 7, 41)),
    "convert_element_type": (
        lambda x: (x.astype(bool), x.astype("int32"), (x > 0).astype(x.dtype)), A * 3),
    "convert to float": (lambda x: x.astype(float), INTS),
    "integer_pow": (lambda x: (x**2, x**3, x**-1, x**-2, x**5), A),
    "select_n": (lambda p, a, b: jnp.where(p, a, b), A > 0, A, B),
    "select_n of three": (lambda i, a, b: lax.select_n(i, a, b, -a), (IDS % 3).astype("int32"),
                          A[:, :3], B[:, :3]),
    "select_n by a scalar": (lambda p, a, b: lax.select_n(p, a, b), np.array(True), A, B),
    "reshape": (lambda x: x.reshape(5, 3), A),
    "squeeze": (lambda x: lax.squeeze(x, (1,)), A[:, None]),
    "broadcast_in_dim": (lambda x: lax.broadcast_in_dim(x, (2, 3, 7, 5), (1, 3)), A),
    "broadcast_in_dim of size 1": (lambda x: lax.broadcast_in_dim(x, (4, 3, 5), (1, 2)), A[:, :1]),
    "transpose": (lambda x: x.transpose(2, 0, 1), BATCHED),
    "rev": (lambda x: lax.rev(x, (0, 2)), BATCHED),
    "slice": (lambda x: lax.slice(x, (0, 1), (3, 5), (2, 3)), A),
    "slice without strides": (lambda x: lax.slice(x, (1, 0), (3, 4)), A),
    "pad": (lambda x: lax.pad(x, 7.0, ((1, 2, 0), (0, 1, 2))), A),
    "pad by less than nothing": (lambda x: lax.pad(x, 7.0, ((-1, 1, 0), (2, -2, 1))), A),
    "iota": (lambda: (lax.broadcasted_iota("int32", (3, 5), 1), jnp.arange(7))),
    "concatenate": (lambda a, b: jnp.concatenate([a, b, a], 1), A, B),
    "split": (lambda x: lax.split(x, (2, 3), axis=1), A),
    "reduce_sum": (lambda x: (x.sum(1), x.sum((0, 2)), x.sum()), BATCHED),
    "reduce_max": (lambda x: (x.max(1), x.max()), BATCHED),
    "reduce_max of NaN": (lambda x: (x.max(1), x.min(0)), TIES),
    "reduce_min": (lambda x: (x.min(0), x.min()), BATCHED),
    "reduce_max of integers": (lambda x: (x.max(0), x.min(1)), INTS),
    "reduce_prod": (lambda x: x.prod(1), BATCHED),
    "reduce_and": (lambda x: jnp.all(x > -1, 1), A),
    "reduce_or": (lambda x: jnp.any(x > 1, 0), A),
    "argmax": (lambda x: (x.argmax(1), x.argmax(0)), TIES),
    "argmin": (lambda x: (x.argmin(1), x.argmin(0)), TIES),
    "cumsum": (lambda x: (lax.cumsum(x, 1), lax.cumsum(x, 0, reverse=True)), A),
    "cumprod": (lambda x: lax.cumprod(x, 1), A),
    "cummax": (lambda x: lax.cummax(x, 0), A),
    "cummin": (lambda x: lax.cummin(x, 1, reverse=True), A),
    "dot_general": (lambda a, b: a @ b.T, A, B),
    "dot_general in batches": (lambda a, b: a @ b, BATCHED, CUBE),
    "dot_general over two axes": (
        lambda a, b: lax.dot_general(a, b, (((0, 2), (0, 1)), ((), ()))), BATCHED, CUBE),
    "dot_general of vectors": (lambda a, b: a @ b, A, B[0]),
    "gather": (lambda t, i: t[i], A, IDS % 3),
    "gather of elements": (lambda t, i: t[i[:, 0], i[:, 1]], A, IDS % 3),
    "gather, sliced": (lambda t, i: t[:, i, 1:], BATCHED, IDS[0] % 3),
    **{f"gather, {mode}": (lambda t, i, mode=mode: t.at[i].get(mode=mode), B.T,
                           IDS if mode != "promise_in_bounds" else IDS % 5) for mode in MODES},
    "gather along": (lambda t, i: jnp.take_along_axis(t, i, 1), A, IDS % 5),
    "gather of fill": (lambda t, i: t.at[i].get(mode="fill", fill_value=3.0), B.T, IDS),
    "scatter": (lambda t, i, u: t.at[i[:, 0], i[:, 1]].set(u), A, IDS % 3, A[:, 0]),
    "scatter-add": (lambda t, i, u: t.at[i].add(u), B.T, IDS % 5, RNG.normal(size=(3, 3, 3))),
    "scatter-add, drop": (lambda t, i, u: t.at[i].add(u, mode="drop"), B.T, IDS,
                          RNG.normal(size=(3, 3, 3))),
    "scatter-add, clip": (lambda t, i, u: t.at[i].add(u, mode="clip"), B.T, IDS,
                          RNG.normal(size=(3, 3, 3))),
    "scatter-add of columns": (lambda t, i, u: t.at[:, i].add(u), A, IDS[0] % 5, A[:, :3]),
}  # fmt: skip
ALIASES = {"add_any", "copy_p", "stop_gradient"}
"""What autodiff and older versions of JAX write for add and copy: no public function makes them."""


@pytest.fixture(scope="module", params=["float64", "float32"])
def ran(request):
    """All cases in one process of node."""
    dtype = request.param
    with jax.enable_x64(dtype == "float64"):
        arguments = {
            name: [
                jnp.asarray(x, dtype if x.dtype == "float64" else None)
                for x in map(np.asarray, args)
            ]
            for name, (f, *args) in ((n, c if isinstance(c, tuple) else (c,)) for n, c in CASES.items())
        }
        functions = {n: c[0] if isinstance(c, tuple) else c for n, c in CASES.items()}
        programs = {n: export(functions[n], *args) for n, args in arguments.items()}
        right = {n: jax.tree.leaves(functions[n](*args)) for n, args in arguments.items()}
        right = {n: [np.asarray(x, "float64") for x in leaves] for n, leaves in right.items()}
    made = node.run([(programs[n], list(map(np.asarray, args))) for n, args in arguments.items()])
    return dtype, programs, right, dict(zip(CASES, made, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_a_primitive(ran, name):
    dtype, _, right, made = ran
    rtol = {"float64": 2e-15, "float32": 1e-6}[dtype]
    for ours, jaxs in zip(made[name], right[name], strict=True):
        assert ours.shape == jaxs.shape
        np.testing.assert_allclose(ours, jaxs, rtol=rtol, atol=rtol * 8)


def test_every_primitive_is_tested(ran):
    tested = {equation[0] for program in ran[1].values() for equation in program.equations}
    assert tested >= PARAMS.keys() - ALIASES


def test_the_interpreter_knows_the_primitives_that_the_exporter_lets_through():
    script = (
        'import { PRIMITIVES } from "PAGE/interpreter.js";'
        "console.log(JSON.stringify(Object.keys(PRIMITIVES)))"
    )
    assert set(node.evaluate(script)) == PARAMS.keys()


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x: jnp.sort(x), "sort"),
        (lambda x: jnp.linalg.cholesky(x @ x.T), "cholesky"),
        (lambda x: lax.while_loop(lambda y: y[0, 0] < 9, lambda y: y + 1, x), "while"),
    ],
)
def test_what_the_page_cannot_run_is_refused_by_name(function, name):
    with pytest.raises(InputError, match=f"cannot run the primitive {name}"):
        export(function, jnp.ones((3, 3)))


def test_a_type_that_the_page_does_not_have_is_refused():
    with pytest.raises(InputError, match="bfloat16"):
        export(jnp.tanh, jnp.ones(3, "bfloat16"))


def test_a_call_that_is_made_twice_has_variables_of_its_own_each_time():
    twice = jax.jit(lambda x: x * 2 + 1)
    program = export(lambda x: twice(twice(x)), A.astype("float32"))
    ((ours,),) = node.run([(program, [A.astype("float32")])])
    np.testing.assert_allclose(ours, 4 * A + 3, rtol=1e-6)
