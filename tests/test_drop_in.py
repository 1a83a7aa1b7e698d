"""custom_vjp under JAX's transformations, against JAX's gradient of the plain operation.

The cases cover what the bridge has to distinguish: options, integers, omitted arguments, and
arguments that vmap does not map. ``check_rule`` tests it with every rule
(tests/testing/test_rule.py).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore import rules
from jaxmore.drop_in import custom_vjp

pytestmark = pytest.mark.usefixtures("strict_promotion", "x64")

# The rule; for each argument its shape (float), its values (integers) or None; how many of them,
# from the first, vmap and scan go along; the options, far from their defaults.
CASES = {
    "batch_norm": ("batch_norm", [(2, 3, 5), (5,), (5,)], 1, {"eps": 0.3}),
    "embedding": ("embedding", [[[3, 0, 3], [1, 3, 0]], (7, 4)], 1, {}),
    "flatten": ("flatten", [(2, 7, 3, 5)], 1, {"block_size": 3}),
    "linear": ("linear", [(2, 3, 5), (5, 4), (4,)], 1, {}),
    "linear without bias": ("linear", [(2, 3, 5), (5, 4)], 1, {}),
    "linear, bias None": ("linear", [(2, 3, 5), (5, 4), None], 1, {}),
    "softmax_cross_entropy": (
        "softmax_cross_entropy", [(2, 3, 5), [[3, -1, 3], [1, 4, 0]]], 2, {}
    ),
    "tanh": ("tanh", [(2, 3, 5)], 1, {}),
}  # fmt: skip


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request):
    """The drop-in, the plain operation, their arguments, and which of them to differentiate."""
    name, specs, n_batched, options = request.param
    op, fwd, bwd = [getattr(rules, name + suffix) for suffix in ("", "_fwd", "_bwd")]
    rng = np.random.default_rng(0)
    args = [
        jnp.asarray(rng.normal(size=spec) if isinstance(spec, tuple) else spec)
        if spec is not None
        else None
        for spec in specs
    ]
    argnums = [i for i, spec in enumerate(specs) if isinstance(spec, tuple)]
    drop_in = custom_vjp(op, fwd, bwd, **options)
    return drop_in, lambda *args: op(*args, **options), args, argnums, n_batched


def grad(f, argnums):
    """The gradient of a sum of sines: a generic cotangent of y with its own derivative."""

    def loss(*args):
        return sum(
            jnp.sin(leaf + jnp.arange(leaf.size, dtype=leaf.dtype).reshape(leaf.shape)).sum()
            for leaf in jax.tree.leaves(f(*args))
        )

    return jax.grad(loss, argnums)


def assert_equal(ours, want):
    for d, truth in zip(ours, want, strict=True):
        np.testing.assert_allclose(d, truth, rtol=0, atol=1e-12 * abs(np.asarray(truth)).max())


def test_gradient(case):
    drop_in, plain, args, argnums, _ = case
    want = jax.jit(grad(plain, argnums))(*args)
    assert_equal(jax.jit(grad(drop_in, argnums))(*args), want)
    assert_equal(jax.jit(grad(jax.checkpoint(drop_in), argnums))(*args), want)


@pytest.mark.quick("tanh")
def test_gradient_through_vmap_and_scan(case):
    drop_in, plain, args, argnums, n_batched = case
    in_axes = [0 if i < n_batched else None for i in range(len(args))]

    def scanned(*args):
        def body(carry, batch):
            return carry, drop_in(*batch, *args[n_batched:])

        return jax.lax.scan(body, None, args[:n_batched])[1]

    want = jax.jit(grad(jax.vmap(plain, in_axes), argnums))(*args)
    assert_equal(jax.jit(grad(jax.vmap(drop_in, in_axes), argnums))(*args), want)
    assert_equal(jax.jit(grad(scanned, argnums))(*args), want)


@pytest.mark.slow
def test_gradient_of_gradient(case):
    drop_in, plain, args, argnums, _ = case
    want = jax.jit(grad(grad(plain, argnums), argnums))(*args)
    assert_equal(jax.jit(grad(grad(drop_in, argnums), argnums))(*args), want)


def test_value_is_that_of_the_operation(case):
    drop_in, plain, args, _, _ = case
    np.testing.assert_array_equal(drop_in(*args), plain(*args))


def test_the_gradient_comes_from_op_bwd():
    f = custom_vjp(rules.tanh, rules.tanh_fwd, lambda y, dy: (3 * dy,))
    assert jax.grad(f)(jnp.asarray(0.5)) == 3


def test_integer_arguments_have_no_cotangent():
    f = custom_vjp(rules.embedding, rules.embedding_fwd, rules.embedding_bwd)
    y, vjp = jax.vjp(f, jnp.array([1, 0]), jnp.ones((3, 2)))
    dids, dweight = vjp(y)
    assert dids.dtype == jax.dtypes.float0
    assert dweight.dtype == "float64"


def test_forward_mode_takes_the_operation_itself():
    f = custom_vjp(rules.tanh, rules.tanh_fwd, rules.tanh_bwd)
    x = jnp.asarray(0.5)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(f, [x], [x])
