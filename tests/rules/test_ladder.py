"""Rules against torch autograd: one table of cases with the same checks.

Tests that concern a single rule are in the file of that rule.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore import rules
from tests import tolerance

pytestmark = pytest.mark.usefixtures("strict_promotion")

# Two eps for 16-bit dtypes, because the residuals are rounded too.
TOLERANCE = tolerance.TOLERANCE | {"bfloat16": 2**-6, "float16": 2**-9}


class Case(NamedTuple):
    rule: str
    shapes: list[tuple[int, ...]]  # of the arguments
    truth: Callable[..., Any]  # the same in plain torch: truth(torch, *arguments)
    options: dict[str, Any] = {}  # noqa: RUF012


def normed(torch, name, x, *params, eps):
    return getattr(torch.nn.functional, name)(x, x.shape[-1:], *params, eps=eps)


def attention(torch, q, k, v):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def causal_mean(torch, x):
    tril = torch.tril(torch.ones(x.shape[-2], x.shape[-2], dtype=x.dtype))
    return (tril / tril.sum(1, keepdim=True)) @ x


def rnn(torch, x, h, w, b):
    return torch.tanh(torch.cat([x, h], -1) @ w + b)


def gru(torch, x, h, w_z, b_z, w_r, b_r, w_h, b_h):
    xh = torch.cat([x, h], -1)
    z, r = torch.sigmoid(xh @ w_z + b_z), torch.sigmoid(xh @ w_r + b_r)
    h_hat = torch.tanh(torch.cat([x, r * h], -1) @ w_h + b_h)
    return (1 - z) * h + z * h_hat


def lstm(torch, x, h, c, w, b):
    # torch's own cell, with separate (out, in) weights for x and h.
    n_in, zero = x.shape[-1], torch.zeros_like(b)
    flat = [a.reshape(-1, a.shape[-1]) for a in (x, h, c)]
    out = torch.lstm_cell(flat[0], flat[1:], w[:n_in].T, w[n_in:].T, b, zero)
    return tuple(a.reshape(h.shape) for a in out)


def cell(E, H, n, *batch, states=1, width=1):
    params = [(E + H, width * H), (width * H,)] * n
    return [(*batch, E), *[(*batch, H)] * states, *params]


def gelu(torch, x, approximate):
    return torch.nn.functional.gelu(x, approximate=approximate)


CASES = {
    "sigmoid": Case("sigmoid", [(3, 1, 5)], lambda torch, x: torch.sigmoid(x)),
    "sigmoid ()": Case("sigmoid", [()], lambda torch, x: torch.sigmoid(x)),
    "relu": Case("relu", [(3, 1, 5)], lambda torch, x: torch.relu(x)),
    "gelu tanh": Case("gelu", [(5, 7)], partial(gelu, approximate="tanh"), {"approximate": True}),
    "gelu erf": Case("gelu", [(5, 7)], partial(gelu, approximate="none"), {"approximate": False}),
    "layer_norm": Case(
        "layer_norm",
        [(3, 2, 5), (5,), (5,)],
        lambda torch, *args: normed(torch, "layer_norm", *args, eps=0.1),
        {"eps": 0.1},
    ),
    "layer_norm 1 row": Case(
        "layer_norm",
        [(7,), (7,), (7,)],
        lambda torch, *args: normed(torch, "layer_norm", *args, eps=1e-5),
    ),
    "rms_norm": Case(
        "rms_norm",
        [(3, 2, 5), (5,)],
        lambda torch, *args: normed(torch, "rms_norm", *args, eps=0.1),
        {"eps": 0.1},
    ),
    "rms_norm E=1": Case(
        "rms_norm",
        [(1, 1), (1,)],
        lambda torch, *args: normed(torch, "rms_norm", *args, eps=0.1),
        {"eps": 0.1},
    ),
    "softmax": Case("softmax", [(3, 2, 5)], lambda torch, x: torch.softmax(x, -1)),
    "softmax axis": Case(
        "softmax", [(3, 4, 5)], lambda torch, x: torch.softmax(x, 1), {"axis": 1}
    ),
    "softmax V=1": Case("softmax", [(3, 1)], lambda torch, x: torch.softmax(x, -1)),
    "causal_mean": Case("causal_mean", [(2, 3, 7, 5)], causal_mean),
    "causal_mean T=1": Case("causal_mean", [(1, 5)], causal_mean),
    "attention": Case("causal_attention", [(2, 3, 7, 5)] * 3, attention),
    "attention T=1": Case("causal_attention", [(2, 3, 1, 5)] * 3, attention),
    "attention D=1": Case("causal_attention", [(1, 1, 3, 1)] * 3, attention),
    # Blocks of the same size, where the last is padded, and blocks of one row.
    **{
        f"attention T={T} in {size}": Case(
            "causal_attention", [(*batch, T, 3)] * 3, attention, {"block_size": size}
        )
        for batch, T, size in [((2, 1), 7, 3), ((3,), 9, 4), ((1, 2), 3, 1)]
    },
    "rnn": Case("rnn_cell", cell(3, 5, 1, 2), rnn),
    "rnn 1": Case("rnn_cell", cell(1, 1, 1, 1), rnn),
    "gru": Case("gru_cell", cell(3, 5, 3, 2), gru),
    "gru 1": Case("gru_cell", cell(1, 1, 3, 1), gru),
    "lstm": Case("lstm_cell", cell(3, 5, 1, 2, states=2, width=4), lstm),
    "lstm 1": Case("lstm_cell", cell(1, 1, 1, 1, states=2, width=4), lstm),
    "gru batches": Case("gru_cell", cell(3, 2, 3, 2, 2), gru),
    "flatten_consecutive": Case(
        "flatten_consecutive", [(2, 6, 5)], lambda torch, x: x.reshape(2, 2, 15), {"n": 3}
    ),
    "flatten_consecutive all": Case(
        "flatten_consecutive", [(3, 5)], lambda torch, x: x.reshape(1, 15), {"n": 3}
    ),
    "l2_penalty": Case(
        "l2_penalty", [(5, 7)], lambda torch, w: 0.3 * (w**2).mean(), {"scale": 0.3}
    ),
}  # fmt: skip
# One case per rule, and attention in blocks, for checks that hardly depend on shapes.
ONE_EACH = [name for name in CASES if name in {case.rule for case in CASES.values()}] + [
    "gelu tanh", "gelu erf", "attention", "attention T=7 in 3", "rnn", "gru", "lstm",
]  # fmt: skip

one_each = pytest.mark.parametrize("name", ONE_EACH)
one_each_in_float64 = pytest.mark.quick(*(f"{name}-float64" for name in ONE_EACH))
every_case_and_dtype = pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, dtype) for name in CASES for dtype in ("float64", "float32")]
    + [(name, dtype) for name in ONE_EACH for dtype in ("bfloat16", "float16")],
    indirect=["dtype"],
)


@cache
def functions(name):
    """Return (op, fwd, bwd) with the options bound, plain and compiled separately."""
    case = CASES[name]
    plain = [
        partial(getattr(rules, case.rule + end), **case.options) for end in ("", "_fwd", "_bwd")
    ]
    return plain, [jax.jit(function) for function in plain]


def arguments(name, dtype, seed=0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in CASES[name].shapes]


def cotangent(y, seed=1):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), a.dtype), y)


def exact(arrays):
    return [np.asarray(a, np.float64) for a in jax.tree.leaves(arrays)]


@every_case_and_dtype
@one_each_in_float64
def test_against_torch(oracle, name, dtype):
    args = arguments(name, dtype)
    _, (_, fwd, bwd) = functions(name)
    y, res = fwd(*args)
    dy = cotangent(y)
    cotangents = bwd(res, dy)

    torch = oracle.torch

    def truth(*leaves):
        out = CASES[name].truth(torch, *leaves)
        return torch.cat([o.flatten() for o in (out if isinstance(out, tuple) else (out,))])

    # The reference is float64 from the same rounded inputs. The condition scale of y is the sum
    # over absolute values of Jacobian and arguments. In narrow dtypes the rounding of the forward's
    # values reaches every cotangent, so there the largest scale of the tensor counts for each.
    leaves = tuple(torch.tensor(a) for a in exact(args))
    jacobians = torch.autograd.functional.jacobian(truth, leaves, vectorize=True)
    flat_dy = np.concatenate([a.ravel() for a in exact(dy)])
    flat_y = np.concatenate([a.ravel() for a in exact(y)])
    matrices = [j.reshape(flat_dy.size, -1).numpy() for j in jacobians]
    value = truth(*leaves).numpy()
    y_scale = abs(value)
    for matrix, leaf in zip(matrices, leaves, strict=True):
        y_scale = y_scale + abs(matrix) @ abs(leaf.numpy().ravel())
    oracle.assert_close("y", flat_y, oracle.Checked(value, y_scale), TOLERANCE[dtype])
    assert len(cotangents) == len(args)
    scales = oracle.gradient_scales(truth, leaves, flat_dy)
    for i, (arg, d, matrix) in enumerate(zip(args, cotangents, matrices, strict=True)):
        assert (d.shape, d.dtype) == (arg.shape, arg.dtype)
        want = (flat_dy @ matrix).reshape(arg.shape)
        scale = scales[i] if dtype == "float64" else scales[i].max()
        oracle.assert_close(f"cotangent {i}", d, oracle.Checked(want, scale), TOLERANCE[dtype])


@every_case_and_dtype
@one_each_in_float64
def test_the_contract(name, dtype):
    """Check dtypes, residuals, and the cotangents for a zero cotangent."""
    args = arguments(name, dtype)
    _, (_, fwd, bwd) = functions(name)
    y, res = fwd(*args)
    loss = CASES[name].rule == "l2_penalty"
    want = "float32" if loss and dtype != "float64" else dtype
    assert all(leaf.dtype == want for leaf in jax.tree.leaves(y))
    zeros = bwd(res, jax.tree.map(jnp.zeros_like, y))
    assert isinstance(zeros, tuple)
    for arg, d in zip(args, zeros, strict=True):
        assert (d.shape, d.dtype) == (arg.shape, arg.dtype)
        assert not d.any()


@one_each
@pytest.mark.slow
def test_eager_is_jit_to_some_ulp(name):
    args = arguments(name, "float32")
    (op, fwd, bwd), (_, jit_fwd, jit_bwd) = functions(name)
    y, res = fwd(*args)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(res))
    jit_y, jit_res = jit_fwd(*args)
    dy = cotangent(y)
    cotangents, jit_cotangents = bwd(res, dy), jit_bwd(jit_res, dy)
    ours, theirs = exact((op(*args), y, cotangents)), exact((y, jit_y, jit_cotangents))
    for eager, jitted in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(eager, jitted, rtol=0, atol=1e-6 * (abs(eager).max() + 1))


LONG = {
    "layer_norm": [(2049, 3), (3,), (3,)],
    "layer_norm wide": [(3, 2049), (2049,), (2049,)],
    "rms_norm wide": [(3, 2049), (2049,)],
    "softmax": [(3, 2049)],
    "causal_mean": [(2049, 3)],
    "attention": [(513, 3)] * 3,
    "rnn": cell(3, 5, 1, 1025),
    "l2_penalty": [(2049, 3)],
}


@pytest.mark.parametrize("name", LONG)
@pytest.mark.slow
def test_long_sums_in_16_bits_are_those_of_float64(name):
    """For terms of one sign, where a 16-bit running sum would stop growing after hundreds."""
    _, (_, fwd, bwd) = functions(name.removesuffix(" wide"))
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        args = [jnp.asarray(rng.normal(0.5, 0.5, shape), "bfloat16") for shape in LONG[name]]
        y, res = fwd(*args)
        dy = jax.tree.map(lambda a: jnp.asarray(rng.normal(1, 0.5, a.shape), a.dtype), y)
        ours = exact((y, bwd(res, dy)))
        y, res = fwd(*(a.astype("float64") for a in args))
        want = exact((y, bwd(res, jax.tree.map(lambda a: a.astype("float64"), dy))))
    # Rounding the result takes half an eps; the mean has no other rounding error.
    bound = 2**-8 if name == "causal_mean" else TOLERANCE["bfloat16"]
    for a, b in zip(ours, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=bound * abs(b).max())
