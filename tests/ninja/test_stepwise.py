"""The seeds' network in its smallest steps, against PyTorch's autograd: the table of seed 001."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore import stepwise
from jaxmore.ninja.stepwise import Cotangents, Intermediates, Parameters

pytestmark = pytest.mark.usefixtures("strict_promotion")


class Sizes(NamedTuple):
    """Examples, context, vocabulary, embedding, hidden; and whether b1 is there."""

    B: int
    T: int
    V: int
    E: int
    H: int
    b1: bool


SEED_001 = Sizes(32, 3, 27, 10, 64, b1=True)
SEED_004 = Sizes(32, 3, 27, 10, 64, b1=False)
ODD = Sizes(7, 2, 5, 3, 11, b1=True)
PAIR = Sizes(2, 4, 6, 3, 5, b1=True)
PAIR_NO_B1 = Sizes(2, 1, 3, 2, 7, b1=False)
ALL = [SEED_001, SEED_004, ODD, PAIR, PAIR_NO_B1]
every_size = pytest.mark.parametrize(
    "sizes", ALL, ids=["001", "004", "odd", "pair", "pair without b1"]
)


def draw(sizes: Sizes, dtype: str, seed: int = 0) -> tuple[Parameters, jax.Array, jax.Array]:
    """Generic parameters at the seeds' scales, and contexts in which an id comes back."""
    B, T, V, E, H, with_b1 = sizes
    rng = np.random.default_rng(seed)

    def normal(*shape: int, std: float = 1.0, mean: float = 0.0) -> jax.Array:
        # Drawn in float32 for both dtypes: the same numbers.
        return jnp.array((mean + std * rng.normal(size=shape)).astype("float32"), dtype)

    params = Parameters(
        C=normal(V, E),
        W1=normal(T * E, H, std=5 / 3 / (T * E) ** 0.5),
        b1=normal(H, std=0.1) if with_b1 else None,
        W2=normal(H, V, std=0.1),
        b2=normal(V, std=0.1),
        bngain=normal(1, H, std=0.1, mean=1.0),
        bnbias=normal(1, H, std=0.1),
    )
    X, Y = rng.integers(0, V, (B, T)), rng.integers(0, V, B)
    X[-1, -1] = X[0, 0]
    return params, jnp.array(X, "int32"), jnp.array(Y, "int32")


def named(values: Parameters | Intermediates | Cotangents) -> dict[str, jax.Array]:
    return {name: value for name, value in values._asdict().items() if value is not None}


@jax.jit
def closed_forms(
    params: Parameters, Y: jax.Array, values: Intermediates, cotangents: Cotangents
) -> dict[str, jax.Array]:
    """Exercises 2 and 3, each in both forms, named "name, form"."""
    norm = params.bngain, values.bnraw, values.bnvar_inv, cotangents.hpreact
    return {
        "logits, closed": stepwise.dlogits_closed(values.logits, Y),
        "logits, outer": stepwise.dlogits_outer(values.logits, Y),
        "hprebn, closed": stepwise.dhprebn_closed(*norm),
        "hprebn, outer": stepwise.dhprebn_outer(*norm),
    }


@every_size
@pytest.mark.quick("float64-odd")
def test_forward(oracle, sizes, dtype, tolerance):
    params, X, Y = draw(sizes, dtype)
    values = named(stepwise.forward(params, X, Y))
    expected, _ = oracle.network(named(params), X, Y)
    assert list(values) == list(expected)
    assert len(values) == 20  # nineteen and the loss
    for name, value in values.items():
        assert value.dtype == dtype
        oracle.assert_close(name, value, expected[name], tolerance)


@every_size
@pytest.mark.quick("float64-odd")
def test_backward(oracle, sizes, dtype, tolerance):
    """Seed 001's table: all 26 cotangents (25 without b1) and the closed forms."""
    params, X, Y = draw(sizes, dtype)
    values = stepwise.forward(params, X, Y)
    cotangents = stepwise.backward(params, X, Y, values)
    _, expected = oracle.network(named(params), X, Y)
    assert named(cotangents).keys() == expected.keys() - {"loss"}
    assert len(named(cotangents)) == (26 if sizes.b1 else 25)
    assert np.unique(X).size < X.size  # a repeated id: its row of C collects

    table = named(cotangents) | closed_forms(params, Y, values, cotangents)
    print()
    for name, ours in jax.device_get(table).items():
        theirs = expected[name.partition(",")[0]]
        exact = str(np.array_equal(ours, theirs.value))
        approximate = str(np.allclose(ours, theirs.value))  # the tolerances of torch.allclose
        maxdiff = np.abs(ours - theirs.value).max()
        print(
            f"{name:15s} | exact: {exact:5s} | approximate: {approximate:5s} | maxdiff: {maxdiff}"
        )
        assert ours.dtype == dtype
        oracle.assert_close(name, ours, theirs, tolerance)


@every_size
def test_closed_forms_equal_the_long_way(sizes, x64):
    params, X, Y = draw(sizes, "float64", seed=1)
    values = stepwise.forward(params, X, Y)
    cotangents = stepwise.backward(params, X, Y, values)
    for name, closed in closed_forms(params, Y, values, cotangents).items():
        long_way = getattr(cotangents, name.partition(",")[0])
        # The scale of dhprebn: what enters BatchNorm's backward. At B = 2 little comes out.
        scale = np.abs(long_way).max()
        if name.startswith("hprebn"):
            gain = np.abs(params.bngain) * np.abs(values.bnvar_inv)
            scale = (gain * np.abs(cotangents.hpreact)).max()
        np.testing.assert_allclose(closed, long_way, rtol=0, atol=1e-14 * scale, err_msg=name)


def test_closed_forms_at_the_size_of_seed_001(oracle):
    """Within 2e-9 of autograd in float32, where seed 001 printed 1.2e-9 and 1.1e-11.

    Both sides start from torch's values. dlogits is compared with the gradient of
    F.cross_entropy: the one that the small steps retain is itself 7e-9 off in float32.
    """
    params, X, Y = draw(SEED_001, "float32")
    values, cotangents = oracle.network(named(params), X, Y)
    cotangents["logits"] = oracle.cross_entropy(values["logits"].value, Y)
    closed = closed_forms(
        params,
        Y,
        Intermediates(*(jnp.array(values[name].value) for name in Intermediates._fields)),
        Cotangents(*(jnp.array(cotangents[name].value) for name in Cotangents._fields)),
    )
    for name, ours in closed.items():
        theirs = cotangents[name.partition(",")[0]].value
        assert np.abs(theirs).max() > 1e-3  # or 2e-9 would say nothing
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-9, err_msg=name)


def test_a_row_that_is_not_picked_has_gradient_zero(x64):
    params, X, Y = draw(ODD, "float64")
    X = X.at[X == 3].set(1)
    cotangents = stepwise.backward(params, X, Y, stepwise.forward(params, X, Y))
    assert (cotangents.C[3] == 0).all()
    assert (cotangents.C[1] != 0).all()


def test_the_first_of_tied_largest_logits_takes_the_cotangent(oracle, x64):
    """As in torch.max(dim).

    dlogit_maxes is zero by identity, so on true values no policy could be told from another:
    counts_sum is falsified until it is not.
    """
    params, X, Y = draw(ODD, "float64")
    values = stepwise.forward(params, X, Y)
    tied = values.logits.at[:, 1].set(9.0).at[:, 3].set(9.0)
    values = values._replace(logits=tied, counts_sum=1.5 * values.counts_sum)
    cotangents = stepwise.backward(params, X, Y, values)
    assert (np.abs(cotangents.logit_maxes) > 0.01).all()
    expected = oracle.less_its_maximum(tied, cotangents.norm_logits)
    assert (expected[:, 1] != cotangents.norm_logits[:, 1]).all()
    assert (expected[:, 3] == cotangents.norm_logits[:, 3]).all()
    np.testing.assert_allclose(cotangents.logits, expected, rtol=0, atol=1e-15)


def test_one_example_has_no_variance():
    params, X, Y = draw(ODD, "float32")
    with pytest.raises(ValueError, match="at least two examples"):
        stepwise.forward(params, X[:1], Y[:1])


@pytest.mark.slow
def test_eager_equals_jit(oracle, dtype):
    """To 16 ULP of the condition scale; 4 were the most in 20 draws of each of ALL."""
    params, X, Y = draw(ODD, dtype)
    values = stepwise.forward(params, X, Y)
    cotangents = stepwise.backward(params, X, Y, values)
    with jax.disable_jit():
        eager_values = stepwise.forward(params, X, Y)
        eager_cotangents = stepwise.backward(params, X, Y, values)
    value_scales, cotangent_scales = oracle.network(named(params), X, Y)
    for jitted, eager, scales in [
        (values, eager_values, value_scales),
        (cotangents, eager_cotangents, cotangent_scales),
    ]:
        assert named(jitted).keys() == named(eager).keys()
        for name, value in named(jitted).items():
            right = oracle.Checked(np.asarray(getattr(eager, name)), scales[name].scale)
            oracle.assert_close(name, value, right, 16 * jnp.finfo(dtype).eps)


def test_one_compilation_for_a_shape():
    sizes = ODD._replace(B=13)  # a shape of this test's own
    before = stepwise.forward._cache_size(), stepwise.backward._cache_size()
    for seed in range(3):
        params, X, Y = draw(sizes, "float32", seed)
        stepwise.backward(params, X, Y, stepwise.forward(params, X, Y))
    after = stepwise.forward._cache_size(), stepwise.backward._cache_size()
    assert after == (before[0] + 1, before[1] + 1)
