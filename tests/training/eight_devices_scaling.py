"""Tests of the accounts of docs/scaling.md, on eight simulated devices: see eight_devices.py."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.account import product_flops
from benchmarks.hlo import Collective
from benchmarks.scaling import BOTH, DATA, SHARDS, TREE, TREE_SHARDS, Case, Program
from jaxmore.backprop import loss_and_grad
from jaxmore.models import MODELS

SIZES = {"vocab_size": 7, "block_size": 4, "n_layer": 1, "n_head": 4, "n_embd": 16}
MODEL = MODELS["transformer"].make(**SIZES)
PARAMS = jax.eval_shape(MODEL.init, jax.random.key(0))
BYTES = 4 * sum(a.size for a in jax.tree.leaves(PARAMS))


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 8])
def test_an_account_is_that_of_the_program_that_runs(n: int) -> None:
    described = Program(Case(DATA, n), SIZES, 8 * n).account()
    program = Program(Case(DATA, n), SIZES, 8 * n, run=True)
    assert program.step_time() > 0
    assert program.account() == described
    # All gradients and the loss; and the number of targets, which two places ask for.
    assert described.counts == {Collective("all-reduce", n): 2}
    assert described.sizes == {Collective("all-reduce", n): BYTES + 4 + 8}
    ids = jax.ShapeDtypeStruct((8, 4), jnp.int32)
    of_a_share = jax.make_jaxpr(loss_and_grad, static_argnums=0)(MODEL, PARAMS, ids, ids)
    assert described.flops == product_flops(of_a_share.jaxpr)


@pytest.mark.slow
def test_the_collectives_of_each_layout_have_the_derived_bytes() -> None:
    activation = 4 * 8 * 4 * 16  # of a share of 8 examples
    both = Program(Case(BOTH, 8, 4), SIZES, 16).account()
    assert both.counts[Collective("all-reduce", 4)] == 4
    assert both.sizes[Collective("all-reduce", 4)] == 4 * activation
    shards = Program(Case(SHARDS, 8), SIZES, 64).account()
    assert shards.sizes[Collective("all-reduce", 8)] == BYTES + 12
    tree = Program(Case(TREE, 8), SIZES, 64).account()
    assert tree.sizes == {Collective("all-gather", 8): 8 * (BYTES + 8)}
    sharded = Program(Case(TREE_SHARDS, 8), SIZES, 64).account()
    assert sum(sharded.counts.values()) == 2
    assert sharded.sizes[Collective("all-to-all", 8)] < 1.1 * BYTES
