"""embedding, against torch autograd."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.rules import embedding_bwd, embedding_fwd
from tests.tolerance import TOLERANCE

pytestmark = pytest.mark.usefixtures("strict_promotion")

forward = jax.jit(embedding_fwd)
backward = jax.jit(embedding_bwd)


@pytest.mark.parametrize(
    ("ids", "n_vocab", "dtype", "id_dtype"),
    [
        (2, 5, "float64", "int32"),
        ([0], 1, "float64", "int32"),
        ([4, 0, 4, 3, 4], 5, "float64", "int64"),
        ([[[4, 0, 4], [1, 0, 3]]], 5, "float64", "int16"),
        # Around and above the range of int8.
        *[([126, 3, 126], n_vocab, "float32", "int8") for n_vocab in [127, 128, 129, 300]],
        ([299, 200, 299], 300, "float32", "int16"),
        *[(np.zeros(4096, int), 1, dtype, "int32") for dtype in TOLERANCE],
    ],
    indirect=["dtype"],
)
@pytest.mark.quick("float64")
def test_against_torch(oracle, ids, n_vocab, dtype, id_dtype):
    rng = np.random.default_rng(0)
    ids = jnp.asarray(ids, id_dtype)
    weight = jnp.asarray(rng.normal(1, 1, (n_vocab, 3)), dtype)
    dy = jnp.asarray(rng.normal(1, 1, (*ids.shape, 3)), dtype)
    y, res = forward(ids, weight)
    no_cotangent, dweight = backward(res, dy)
    assert no_cotangent is None
    assert (y.dtype, dweight.dtype) == (dtype, dtype)

    leaf = oracle.torch.tensor(np.asarray(weight, np.float64), requires_grad=True)
    positions = np.asarray(ids, np.int64)
    truth = oracle.torch.nn.functional.embedding(oracle.torch.tensor(positions), leaf)
    exact = np.asarray(dy, np.float64)
    truth.backward(oracle.torch.tensor(exact))
    scale = np.zeros((n_vocab, 3))
    np.add.at(scale, positions, abs(exact))
    np.testing.assert_array_equal(np.asarray(y, np.float64), truth.detach(), strict=True)
    want = oracle.Checked(leaf.grad.numpy(), scale)
    oracle.assert_close("dweight", dweight, want, TOLERANCE[dtype])


@pytest.mark.parametrize("ids", [[], [3, 1, 3]])
def test_the_gradient_of_an_absent_id_is_exactly_zero(ids):
    y, res = forward(np.asarray(ids, "int32"), np.ones((5, 2), "float32"))
    _, dweight = map(np.asarray, backward(res, np.full_like(y, 0.3)))
    present = np.isin(np.arange(5), ids)
    np.testing.assert_array_equal((dweight != 0).all(-1), present)
    np.testing.assert_array_equal((dweight == 0).all(-1), ~present)
