"""The contract of every rule, as stated in jaxmore/rules/__init__.py."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore import rules

pytestmark = pytest.mark.usefixtures("strict_promotion")

# Rule: the shape (float) or the values (integers) of each argument, and the options. A repeated
# id and an ignored target; eps large enough to matter.
CASES = {
    "batch_norm": ([(2, 3, 5), (5,), (5,)], {"eps": 0.1}),
    "embedding": ([[[3, 0, 3], [1, 3, 0]], (7, 2)], {}),
    "flatten": ([(2, 3, 5)], {"block_size": 3}),
    "linear": ([(2, 3, 5), (5, 4), (4,)], {}),
    "softmax_cross_entropy": ([(2, 3, 5), [[3, -1, 3], [1, 4, 0]]], {}),
    "tanh": ([(2, 3, 5)], {}),
}

every_dtype = pytest.mark.parametrize(
    "dtype", ["float64", "float32", "bfloat16", "float16"], indirect=True
)


class Rule:
    """A rule with its options bound, its functions compiled apart, and arguments for it."""

    def __init__(self, name):
        self.specs, options = CASES[name]
        self.op = partial(getattr(rules, name), **options)
        self.fwd = partial(getattr(rules, f"{name}_fwd"), **options)
        self.jit_op = jax.jit(self.op)
        self.jit_fwd = jax.jit(self.fwd)
        self.jit_bwd = jax.jit(partial(getattr(rules, f"{name}_bwd"), **options))

    def arguments(self, dtype):
        rng = np.random.default_rng(0)
        return [
            jnp.asarray(rng.normal(size=spec), dtype)
            if isinstance(spec, tuple)
            else jnp.asarray(spec, "int32")
            for spec in self.specs
        ]


@pytest.fixture(scope="module", params=CASES)
def rule(request):
    return Rule(request.param)


@every_dtype
@pytest.mark.quick("float32")
def test_fwd_is_op_bit_for_bit(rule, dtype):
    args = rule.arguments(dtype)
    y, y_fwd = rule.jit_op(*args), rule.jit_fwd(*args)[0]
    is_loss = y.shape == ()
    assert y.dtype == ("float32" if is_loss and dtype != "float64" else dtype)
    assert (y_fwd.dtype, y_fwd.shape) == (y.dtype, y.shape)
    assert y_fwd.tobytes() == y.tobytes()


@every_dtype
@pytest.mark.quick("float64")
def test_cotangents_mirror_the_arguments(rule, dtype):
    """One per argument, of its shape and dtype, None for integers; zero for a zero cotangent."""
    args = rule.arguments(dtype)
    y, res = rule.jit_fwd(*args)
    cotangents = rule.jit_bwd(res, jnp.asarray(np.zeros(y.shape), y.dtype))
    assert isinstance(cotangents, tuple)
    for arg, d in zip(args, cotangents, strict=True):
        if jnp.issubdtype(arg.dtype, jnp.integer):
            assert d is None
        else:
            assert (d.shape, d.dtype) == (arg.shape, arg.dtype)
            assert not np.asarray(d).any()


def test_residuals_are_arrays(rule):
    """Anything else would become a tracer when fwd and bwd are jitted separately."""
    residuals = []
    jax.eval_shape(lambda *args: residuals.append(rule.fwd(*args)[1]), *rule.arguments("float32"))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(residuals))


@pytest.mark.usefixtures("x64")
def test_forward_mode_of_op_is_the_transpose_of_bwd(rule):
    """<dy, J v> = <Jᵀ dy, v>, where J v is JAX's forward mode through the plain op."""
    rng = np.random.default_rng(1)
    args = rule.arguments("float64")
    tangents = [
        np.zeros(arg.shape, jax.dtypes.float0)  # JAX's tangent dtype for integers
        if jnp.issubdtype(arg.dtype, jnp.integer)
        else rng.normal(size=arg.shape)
        for arg in args
    ]
    y, along_tangents = jax.jit(lambda: jax.jvp(rule.op, args, tangents))()
    dy = rng.normal(size=y.shape)
    cotangents = rule.jit_bwd(rule.jit_fwd(*args)[1], jnp.asarray(dy))
    left = dy * np.asarray(along_tangents)
    right = [np.asarray(d) * v for d, v in zip(cotangents, tangents, strict=True) if d is not None]
    scale = abs(left).sum() + sum(abs(terms).sum() for terms in right)
    assert abs(left.sum() - sum(terms.sum() for terms in right)) <= 1e-12 * scale
