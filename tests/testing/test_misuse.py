"""The checker answers each misuse in one sentence, and accepts what JAX accepts."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.testing import RuleError, check_rule
from jaxmore.testing.rule import examine

X = np.random.default_rng(0).normal(size=(5, 3))
fast = partial(examine, dtypes=(), modes=False)


def triple_fwd(x):
    return 3 * x, None


def triple_bwd(_, dy):
    return (3 * dy,)


def refused(*args: Any, **options: Any) -> str:
    with pytest.raises(ValueError) as error:  # noqa: PT011 -- the callers look at it
        check_rule(*args, **options)
    return str(error.value)


def problem(*args: Any, **options: Any) -> str:
    report = fast(*args, **options)
    assert len(report.problems) == 1, report
    return report.problems[0].message


def test_fwd_returns_the_value_alone():
    text = refused(lambda x: 3 * x, triple_bwd, X)
    assert text == "fwd returns ArrayImpl, not a pair; write return y, residuals"


def test_a_custom_vjp_object_is_taken_apart():
    triple = jax.custom_vjp(lambda x: 3 * x)
    assert "call defvjp" in refused(triple, None, X)
    triple.defvjp(triple_fwd, triple_bwd)
    assert fast(triple, None, X).passed
    assert fast(triple, X).passed
    triple.defvjp(triple_fwd, lambda _, dy: (2 * dy,))
    assert not fast(triple, X).passed


@pytest.mark.slow
def test_nondiff_argnums():
    def power_fwd(n, x):
        return x**n, x

    def power_bwd(n, x, dy):
        return (n * x ** (n - 1) * dy,)

    assert fast(power_fwd, power_bwd, 3, X, nondiff_argnums=(0,)).passed
    power = jax.custom_vjp(lambda n, x: x**n, nondiff_argnums=(0,))
    power.defvjp(power_fwd, power_bwd)
    report = fast(power, 3, X)
    assert report.passed
    assert [row.argument for row in report.rows] == ["x"]
    assert fast(power, X, n=3).passed
    power.defvjp(power_fwd, lambda n, x, dy: (x ** (n - 1) * dy,))
    assert not fast(power, 3, X).passed


def test_options_of_any_kind():
    def fwd(x, *, w):
        return x * jnp.asarray(w), None

    def bwd(_, dy, *, w):
        return (dy * jnp.asarray(w),)

    assert fast(fwd, bwd, X, w=[1.0, 2.0, 3.0]).passed
    report = fast(fwd, bwd, X, w=np.array([1.0, 2.0, 3.0]))
    assert report.passed
    assert "the option w is a float array and taken as a constant" in report.notes[0]


def test_an_option_called_like_one_of_the_checker():
    def fwd(x, *, seed):
        return x * seed, None

    def bwd(_, dy, *, seed):
        return (dy * seed,)

    text = refused(fwd, bwd, X, seed=3)
    assert text == (
        "the rule has an option 'seed', and so has the checker; write options={'seed': ...}"
    )
    assert check_rule(fwd, bwd, X, options={"seed": 3}, dtypes=(), modes=False).passed


def test_an_axis_as_an_argument():
    def fwd(x, axis):
        return x.sum(axis), (x, axis)

    def bwd(residuals, dy):
        x, axis = residuals
        return jnp.broadcast_to(jnp.expand_dims(dy, axis), x.shape), None

    text = problem(fwd, bwd, X, 1)
    assert "pass it as a keyword option, such as axis=1" in text


def test_a_numpy_function_in_fwd():
    text = problem(lambda x: (np.sin(x), x), lambda x, dy: (jnp.cos(x) * dy,), X)
    assert text.startswith("fwd fails under jit: TracerArrayConversionError")
    assert text.endswith("it calls a NumPy function where jax.numpy's is needed")


def test_bwd_may_return_a_list():
    assert fast(triple_fwd, lambda _, dy: [3 * dy], X).passed


def test_a_python_number_among_the_residuals_is_noted():
    def fwd(x):
        return x.mean(-1), (x, x.shape[-1])

    report = fast(fwd, lambda r, dy: (jnp.ones_like(r[0]) * dy[:, None] / r[1],), X)
    assert report.passed
    assert "the residuals hold Python numbers (3)" in report.notes[0]
    text = problem(fwd, lambda r, dy: (jnp.repeat(dy[:, None], r[1], 1) / r[1],), X)
    assert "read it off a shape" in text


def test_complex_numbers():
    assert "is complex: rules of complex" in refused(lambda z: (z.real, None), triple_bwd, X * 1j)
    assert "return the real" in refused(lambda x: (x + 1j, None), triple_bwd, X)


def test_what_is_no_array():
    text = refused(lambda x, f: (f(x), None), triple_bwd, X, jnp.sin)
    assert "not an array" in text
    assert "eqx.partition" in text


@pytest.mark.slow
def test_an_equinox_and_a_flax_module():
    eqx = pytest.importorskip("equinox")
    mlp = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    text = refused(lambda m, x: (jax.vmap(m)(x), None), triple_bwd, mlp, X)
    assert "eqx.partition(tree, eqx.is_array)" in text
    nnx = pytest.importorskip("flax.nnx")
    linear = nnx.Linear(3, 2, rngs=nnx.Rngs(0))

    def fwd(module, x):
        return module(x), (module, x)

    def bwd(residuals, dy):
        module, x = residuals
        leaves, tree = jax.tree.flatten(module)
        assert [leaf.shape for leaf in leaves] == [(2,), (3, 2)]
        return jax.tree.unflatten(tree, [dy.sum(0), x.T @ dy]), dy @ leaves[1].T

    report = fast(fwd, bwd, linear, X)
    assert report.passed, report
    assert len(report.rows) == 3


def test_a_forward_that_is_not_deterministic():
    random = np.random.default_rng(0)
    text = problem(lambda x: (x + random.normal(), None), lambda _, dy: (dy,), X)
    assert text.startswith("the forward is not deterministic")


# Meant so -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_straight_through_rounding():
    fwd, bwd = lambda x: (jnp.round(x), None), lambda _, dy: (dy,)
    with pytest.raises(RuleError, match="straight-through") as error:
        check_rule(fwd, bwd, X, dtypes=(), modes=False)
    assert "op=lambda x: x, skip=('primal',)" in str(error.value)
    check_rule(fwd, bwd, X, op=lambda x: x, skip=("primal",), dtypes=("float32",))
    with pytest.raises(RuleError):
        check_rule(fwd, lambda _, dy: (2 * dy,), X, op=lambda x: x, skip=("primal",))


@pytest.mark.slow
def test_gradient_reversal():
    fwd, bwd = lambda x: (x, None), lambda _, dy: (-dy,)
    with pytest.raises(RuleError, match="its sign is wrong"):
        check_rule(fwd, bwd, X, dtypes=(), modes=False)
    assert check_rule(fwd, bwd, X, op=lambda x: -x, skip=("primal",), dtypes=(), modes=False)


def test_gradient_clipping():
    fwd, bwd = lambda x: (x, None), lambda _, dy: (jnp.clip(dy, -10, 10),)
    with pytest.raises(RuleError, match="gradient clipping") as error:
        check_rule(fwd, bwd, X, dtypes=(), modes=False)
    assert "skip=('autodiff', 'differences', 'linearity')" in str(error.value)
    report = check_rule(fwd, bwd, X, skip=("autodiff", "differences", "linearity"))
    assert report.verdict == "not judged"


def test_an_unknown_check():
    assert refused(triple_fwd, triple_bwd, X, skip=("primals",)).startswith("there is no check")


# Forwards that autodiff cannot follow -------------------------------------------------------------


def newton(a):
    return jax.lax.while_loop(
        lambda s: s[0] < 40, lambda s: (s[0] + 1, (s[1] + a / s[1]) / 2), (0, a)
    )[1]


@pytest.mark.parametrize("op", [None, jnp.sqrt])
@pytest.mark.quick("None")
def test_a_while_loop(op):
    a = np.array([0.5, 2.0, 3.0])
    bwd = lambda y, dy: (dy / (2 * y),)  # noqa: E731
    report = check_rule(lambda a: (newton(a), newton(a)), bwd, a, op=op, dtypes=("float32",))
    if op is None:
        assert report.rows[0].judged_by_autodiff == 0
        assert "autodiff cannot reverse the forward" in report.notes[0]
    with pytest.raises(RuleError):
        check_rule(lambda a: (newton(a), newton(a)), lambda y, dy: (dy / y,), a, op=op)


@pytest.mark.slow
def test_float32_alone():
    table = jnp.array([0.5, 1.5, 2.5], "float32")

    def fwd(x):
        x = x.astype("float32")
        return x * table, None

    def bwd(_, dy):
        return (dy.astype("float32") * table,)

    assert not fast(fwd, bwd, X).passed
    report = check_rule(fwd, bwd, X, only_dtype="float32")
    assert report.rows[0].narrow["float32"] < 2
    assert report.verdict == "right"
    with pytest.raises(RuleError):
        check_rule(fwd, lambda _, dy: (dy * table * 1.0001,), X, only_dtype="float32")


def test_nothing_judged_is_no_pass():
    # The only element is 0, where the root has no slope, and stepping below it gives NaN.
    zero = np.zeros(1)
    report = fast(lambda x: (jnp.sqrt(x), x), lambda x, dy: (7 * dy,), zero)
    assert (report.passed, report.verdict) == (False, "not judged")
    assert str(report).startswith("<lambda> is not judged: no oracle gives a number")
    with pytest.raises(RuleError, match="not judged"):
        check_rule(lambda x: (jnp.sqrt(x), x), lambda x, dy: (7 * dy,), zero, dtypes=())


def test_equal_sizes_are_noted():
    square = np.random.default_rng(1).normal(size=(4, 4))
    assert "axes of equal sizes (4, 4)" in fast(triple_fwd, triple_bwd, square).notes[0]
