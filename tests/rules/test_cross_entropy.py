"""softmax_cross_entropy, against torch autograd."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxmore.rules import softmax_cross_entropy_bwd, softmax_cross_entropy_fwd
from tests.tolerance import TOLERANCE

pytestmark = pytest.mark.usefixtures("strict_promotion")

forward = jax.jit(softmax_cross_entropy_fwd)
backward = jax.jit(softmax_cross_entropy_bwd)


def check_against_torch(oracle, logits, targets, dtype, target_dtype="int32"):
    n = (targets != -1).sum()
    # A generic cotangent; large, as in loss scaling, to keep dlogits in the range of float16.
    dloss = 1234.5 * n
    wide = "float64" if dtype == "float64" else "float32"
    z = jnp.asarray(logits, dtype)
    loss, res = forward(z, jnp.asarray(targets, target_dtype))
    dlogits, no_cotangent = backward(res, jnp.asarray(dloss, wide))
    assert no_cotangent is None
    assert (loss.dtype, dlogits.dtype) == (wide, dtype)

    torch = oracle.torch
    z = np.asarray(z, np.float64)
    leaf = torch.tensor(z, requires_grad=True)
    rows, labels = leaf.reshape(-1, z.shape[-1]), torch.tensor(targets).reshape(-1)
    truth = torch.nn.functional.cross_entropy(rows, labels, ignore_index=-1)
    truth.backward(torch.tensor(dloss))

    valid = (targets != -1)[..., None]
    one_hot = targets[..., None] == np.arange(z.shape[-1])
    # One term of the loss is a log-sum-exp less a logit, one of dlogits p less a one-hot.
    terms = torch.logsumexp(leaf.detach(), -1, keepdim=True).abs().numpy() + one_hot * abs(z)
    loss_scale = (valid * terms).max(-1).sum() / n
    oracle.assert_close(
        "loss", loss, oracle.Checked(truth.detach().numpy(), loss_scale), TOLERANCE[wide]
    )
    probs = torch.softmax(leaf.detach(), -1).numpy()
    scale = valid * (probs + one_hot) * dloss / n
    oracle.assert_close(
        "dlogits", dlogits, oracle.Checked(leaf.grad.numpy(), scale), TOLERANCE[dtype]
    )
    assert (np.asarray(dlogits)[~valid[..., 0]] == 0).all()


@pytest.mark.parametrize("ignore_some", [False, True])
@pytest.mark.parametrize(
    ("leading", "n_vocab", "dtype"),
    [
        ((), 5, "float64"),
        ((1,), 5, "float64"),
        ((3,), 1, "float64"),
        ((7, 1), 5, "float64"),
        ((2, 3), 4, "float64"),
        *[((4096,), 3, dtype) for dtype in TOLERANCE],
        *[((3,), 4096, dtype) for dtype in TOLERANCE],
    ],
    indirect=["dtype"],
)
@pytest.mark.quick("float64")
def test_against_torch(oracle, leading, n_vocab, dtype, ignore_some):
    rng = np.random.default_rng(0)
    targets = np.asarray(rng.integers(0, n_vocab, leading))
    if ignore_some:
        targets.flat[1::3] = -1
    check_against_torch(oracle, rng.normal(size=(*leading, n_vocab)), targets, dtype)


@pytest.mark.parametrize(
    "row", [[-50, 2, 3, 100], [1e4, -1e4, 1e4, 0], [-1e4, -1e4, -1e4, -1e4], [3, 3, 3, -2]]
)
@pytest.mark.parametrize("dtype", TOLERANCE, indirect=True)
def test_large_and_equal_logits_against_torch(oracle, row, dtype):
    """The first row is that of notebook 002, whose exponentials overflow in float32.

    Each row occurs with every target, together with a row that has a small maximum.
    """
    logits = np.array([row, row, row, row, [0, 1, 2, 3]])
    check_against_torch(oracle, logits, np.array([0, 1, 2, 3, 0]), dtype)


@pytest.mark.parametrize(
    ("target_dtype", "n_vocab"),
    [("int8", 128), ("int8", 200), ("int8", 300), ("int16", 300), ("int32", 300)],
)
@pytest.mark.quick("int8-300")
def test_narrow_targets_against_torch(oracle, target_dtype, n_vocab):
    """In int8, class 255 would be the ignored −1, and class 261 the class 5."""
    last = min(n_vocab - 1, np.iinfo(target_dtype).max)
    targets = np.array([5, -1, 5, last, 0, 44])
    logits = np.random.default_rng(0).normal(size=(6, n_vocab))
    check_against_torch(oracle, logits, targets, "float32", target_dtype)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((), "float64"), ((3,), "float32"), ((2, 3), "bfloat16"), ((0,), "float16")],
    indirect=["dtype"],
)
def test_nothing_to_average(dtype, shape):
    """If all targets are ignored or there are none, loss and gradient are 0; torch has NaN."""
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(*shape, 5)), dtype)
    loss, res = forward(logits, jnp.full(shape, -1, "int32"))
    dlogits, _ = backward(res, jnp.asarray(1.7, loss.dtype))
    assert loss == 0
    assert dlogits.shape == logits.shape
    assert (np.asarray(dlogits) == 0).all()


@given(
    hnp.arrays(np.float64, (4, 5), elements=st.floats(-1e4, 1e4)),
    hnp.arrays(np.int32, 4, elements=st.integers(-1, 4)),
)
def test_rows_of_dlogits_sum_to_zero(logits, targets):
    """Because p and the one-hot both sum to one. The loss is finite and not negative."""
    with jax.enable_x64(True):
        loss, res = forward(jnp.array(logits), jnp.array(targets))
        dlogits, _ = backward(res, jnp.asarray(1.7))
        assert 0 <= loss < np.inf
        assert (abs(np.asarray(dlogits).sum(-1)) <= 1e-15).all()
