"""What kills a mutant of the closed forms: PyTorch's autograd through the network's twin."""

from collections.abc import Iterator
from functools import partial
from types import ModuleType

import jax
import jax.numpy as jnp

from jaxmore.ninja.stepwise import Intermediates
from tests import oracle
from tests.mutants.stepwise import Check, expected
from tests.ninja.test_stepwise import ODD, PAIR_NO_B1, Sizes


def checks_of(module: ModuleType) -> Iterator[Check]:
    """Both forms of both exercises, at sizes that differ and at the smallest; then the dtypes."""
    for sizes in (ODD, PAIR_NO_B1):
        yield partial(_right, sizes)
    yield _dtypes


def results(
    module: ModuleType, values: Intermediates, Y: jax.Array, bngain: jax.Array, dhpreact: jax.Array
) -> list[tuple[str, jax.Array]]:
    """The cotangents that the four forms make, by what they are the cotangents of."""
    norm = bngain, values.bnraw, values.bnvar_inv, dhpreact
    return [
        ("logits", module.dlogits_closed(values.logits, Y)),
        ("logits", module.dlogits_outer(values.logits, Y)),
        ("hprebn", module.dhprebn_closed(*norm)),
        ("hprebn", module.dhprebn_outer(*norm)),
    ]


def _right(sizes: Sizes, module: ModuleType) -> None:
    params, _, Y, values, cotangents = expected(sizes)
    right = Intermediates(*(jnp.asarray(v.value) for v in values.values()))
    dhpreact = jnp.asarray(cotangents["hpreact"].value)
    for name, value in results(module, right, Y, params.bngain, dhpreact):
        oracle.assert_close(name, value, cotangents[name], 1e-12)


def _dtypes(module: ModuleType) -> None:
    """In float32 every output is float32."""
    params, _, Y, values, cotangents = expected(ODD)
    single = Intermediates(*(jnp.asarray(v.value, "float32") for v in values.values()))
    bngain = jnp.asarray(params.bngain, "float32")
    dhpreact = jnp.asarray(cotangents["hpreact"].value, "float32")
    for _, value in results(module, single, Y, bngain, dhpreact):
        assert value.dtype == "float32"
