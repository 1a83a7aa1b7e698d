"""custom_vjp and hiprim under JAX's transformations, against JAX's gradient of the plain operation.

The cases cover what the bridges have to distinguish: options, integers, omitted arguments, and
arguments that vmap does not map. ``check_rule`` tests custom_vjp with every rule
(tests/testing/test_rule.py), and ``check_hiprim`` hiprim (tests/testing/test_hiprim.py).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore import InputError, drop_in, rules
from jaxmore.drop_in import custom_vjp, hiprim

with_hijax = pytest.mark.skipif(drop_in.HiPrim is None, reason="hijax primitives came with jax 0.9")
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


@pytest.fixture(params=[custom_vjp, pytest.param(hiprim, marks=with_hijax)])
def bridge(request):
    return request.param


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request, bridge):
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
    return (
        bridge(op, fwd, bwd, **options),
        lambda *args: op(*args, **options),
        args,
        argnums,
        n_batched,
    )


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


@pytest.mark.quick("batch_norm", "embedding", "softmax_cross_entropy")
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


@pytest.mark.quick("batch_norm", "embedding", "softmax_cross_entropy")
def test_value_is_that_of_the_operation(case):
    drop_in, plain, args, _, _ = case
    np.testing.assert_array_equal(drop_in(*args), plain(*args))


def test_the_gradient_comes_from_op_bwd(bridge):
    f = bridge(rules.tanh, rules.tanh_fwd, lambda y, dy: (3 * dy,))
    assert jax.grad(f)(jnp.asarray(0.5)) == 3


def test_integer_arguments_have_no_cotangent(bridge):
    f = bridge(rules.embedding, rules.embedding_fwd, rules.embedding_bwd)
    y, vjp = jax.vjp(f, jnp.array([1, 0]), jnp.ones((3, 2)))
    dids, dweight = vjp(y)
    assert dids.dtype == jax.dtypes.float0
    assert dweight.dtype == "float64"


def test_forward_mode_of_custom_vjp_takes_the_operation_itself():
    f = custom_vjp(rules.tanh, rules.tanh_fwd, rules.tanh_bwd)
    x = jnp.asarray(0.5)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(f, [x], [x])


# Forward mode ------------------------------------------------------------------------------------


def floats_of(case):
    """The drop-in and the plain operation as functions of the float arguments, and these."""
    _, _, args, argnums, _ = case

    def of_floats(f):
        def function(*floats):
            whole = list(args)
            for i, x in zip(argnums, floats, strict=True):
                whole[i] = x
            return f(*whole)

        return function

    return of_floats, [args[i] for i in argnums]


@with_hijax
@pytest.mark.parametrize("bridge", [hiprim], indirect=True)
@pytest.mark.quick("batch_norm", "softmax_cross_entropy")
def test_forward_mode(case):
    of_floats, xs = floats_of(case)
    vs = [jnp.cos(3 * x) for x in xs]
    last = [xs[-1], vs[-1]]  # the others have no tangent

    def pushed(f):
        f = of_floats(f)
        alone = partial(f, *xs[:-1])
        twice = jax.vmap(f, (0, *[None] * (len(xs) - 1)))
        stacked = [jnp.stack([xs[0], 2 * xs[0]]), *xs[1:]]
        return (
            jax.jvp(f, xs, vs),
            jax.jvp(alone, last[:1], last[1:])[1],
            jax.jvp(twice, stacked, [jnp.stack([vs[0], vs[0] / 3]), *vs[1:]])[1],
        )

    ours, want = (jax.jit(partial(pushed, f))() for f in case[:2])
    assert_equal(jax.tree.leaves(ours), jax.tree.leaves(want))


@with_hijax
@pytest.mark.parametrize("bridge", [hiprim], indirect=True)
@pytest.mark.quick("tanh")
def test_forward_over_reverse(case):
    of_floats, xs = floats_of(case)
    vs = [jnp.cos(3 * x) for x in xs]

    def hessian_product(f):
        return jax.jvp(grad(of_floats(f), range(len(xs))), xs, vs)[1]

    ours, want = (jax.jit(partial(hessian_product, f))() for f in case[:2])
    assert_equal(ours, want)


def scaled(params, x, frozen):
    return {"y": params["w"] * x + frozen["c"], "best": jnp.argmax(x)}


def scaled_fwd(params, x, frozen):
    return scaled(params, x, frozen), (params["w"], x)


def scaled_bwd(res, dy):
    w, x = res
    return {"w": dy["y"] * x}, dy["y"] * w, None


@with_hijax
def test_trees_integer_outputs_and_trees_without_a_cotangent():
    f = hiprim(scaled, scaled_fwd, scaled_bwd)
    args = ({"w": jnp.array([1.0, 2.0])}, jnp.array([3.0, 5.0]), {"c": jnp.array([7.0, 11.0])})
    y, pull_back = jax.vjp(f, *args)
    dy = {"y": jnp.array([1.0, 10.0]), "best": np.zeros((), jax.dtypes.float0)}
    dparams, dx, dfrozen = pull_back(dy)
    assert (dparams["w"].tolist(), dx.tolist()) == ([3, 50], [1, 20])
    assert dfrozen["c"].tolist() == [0, 0]
    y, v = jax.jvp(f, args, args)
    assert y["best"] == 1
    assert v["y"].tolist() == [6, 20]  # frozen has no cotangent, so its tangent does not count
    mapped = jax.vmap(f, (None, 1, None), {"y": 1, "best": 0})(args[0], jnp.eye(2), args[2])
    np.testing.assert_array_equal(mapped["y"], [[8, 7], [11, 13]])


@with_hijax
def test_what_is_not_mapped_is_kept_once():
    f = hiprim(rules.linear, rules.linear_fwd, rules.linear_bwd)
    kept = jax.vjp(jax.vmap(f, (0, None)), jnp.ones((7, 3)), jnp.ones((3, 5)))[1]
    assert sorted(x.shape for x in jax.tree.leaves(kept)) == [(3, 5), (7, 3)]


@with_hijax
def test_forward_mode_wants_a_backward_pass_that_is_linear():
    clip = hiprim(lambda x: x, lambda x: (x, ()), lambda _, dy: (jnp.clip(dy, -1, 1),))
    x = jnp.asarray(0.5)
    assert jax.grad(lambda x: 3 * clip(x))(x) == 1
    with pytest.raises(TypeError, match="must be linear in dy"):
        jax.jvp(clip, [x], [x])


def test_a_jax_without_hijax_is_refused(monkeypatch):
    monkeypatch.setattr(drop_in, "HiPrim", None)
    with pytest.raises(InputError, match=r"^jax .* has no hijax primitives: they need jax 0.9"):
        hiprim(rules.tanh, rules.tanh_fwd, rules.tanh_bwd)
