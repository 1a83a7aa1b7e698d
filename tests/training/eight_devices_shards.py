"""Tests of shards, and of wrong collectives, on eight simulated devices: see eight_devices.py."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from benchmarks import collectives
from jaxmore.errors import InputError
from jaxmore.layers import CausalSelfAttention, Chain, Linear
from jaxmore.training import layout as layouts
from jaxmore.training import loop, parts
from jaxmore.training.layout import Layout
from jaxmore.training.loop import TrainState, train
from jaxmore.training.mesh import choose_devices
from jaxmore.training.optimizers import make_optimizer
from tests.refusals import only_line
from tests.training.eight_devices import (
    N_BATCH_NORMS,
    OFF,
    digest,
    error,
    example,
    fit,
    gradient,
    right_gradient,
)


@pytest.mark.quick("mlp-bn")
@pytest.mark.parametrize("type", ["mlp-bn", "rnn", "transformer"])
def test_shards_have_the_bits_of_whole_parameters(type: str) -> None:
    whole, _ = right_gradient(Layout(1), type)
    found, collectives = gradient(Layout(4, shard_params=True), type)
    assert digest(found) == digest(whole)
    # One gather of all parameters, one exchange of all gradients.
    gathers = ["all-gather"] * (1 + 4 * N_BATCH_NORMS.get(type, 0))
    assert collectives == [*gathers, "all-to-all"]


@pytest.mark.slow
def test_the_variable_that_broke_is_named_as_on_one_device() -> None:
    flags: dict[str, Any] = {
        "type": "transformer",
        "n_layer": 1,
        "n_embd2": None,
        "learning_rate": 1e30,
    }
    lines: list[str] = []
    for mesh in ({}, {"mesh": "model=2", "deterministic": False}):
        with pytest.raises(InputError) as error:
            fit(**flags, **mesh)
        lines.append(only_line(error))
    assert lines[0] == lines[1]


ANY_ORDER = {
    # One sum of the number of targets, one of the loss and all gradients. BatchNorm takes four.
    ("mlp-bn", 4, 1, False): ["all-reduce"] * 6,
    ("transformer", 4, 1, False): ["all-reduce"] * 2,
    # A gather of each parameter.
    ("bengio", 2, 1, True): ["all-gather"] * 4 + ["all-reduce"] * 2,
    # In a block two sums forward and two backward; no gather of an activation.
    ("transformer", 1, 2, False): ["all-reduce"] * 4,
    ("microgpt", 1, 2, False): ["all-reduce"] * 4,
    ("transformer", 2, 4, False): ["all-reduce"] * 6,
    # Of each of the 17 parameters but two: the biases that are sharded over model already.
    ("transformer", 2, 2, True): ["all-gather"] * 15 + ["all-reduce"] * 6,
}


QUICK = ("transformer", 2, 2, True)  # both axes, and shards of the parameters


@pytest.mark.parametrize(
    "layout",
    [pytest.param(key, marks=[] if key == QUICK else pytest.mark.slow) for key in ANY_ORDER],
    ids=str,
)
def test_a_sum_in_any_order_is_within_the_condition_scale(layout: Any) -> None:
    type, data, model, shard_params = layout
    found, collectives = gradient(Layout(data, False, model, shard_params), type)
    assert error(found, type) < OFF
    assert collectives == ANY_ORDER[layout]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mesh", "flags"),
    [
        ("data=4", {"optimizer": "adamw", "type": "bengio"}),
        (
            "data=2,model=2",
            {
                "deterministic": False,
                "type": "transformer",
                "n_layer": 1,
                "n_embd2": None,
                "optimizer": "muon",
            },
        ),
    ],
    ids=["data=4", "data=2,model=2"],
)
def test_shards_are_saved_whole(mesh: str, flags: dict[str, Any], tmp_path: Path) -> None:
    flags |= {"schedule": "constant", "chunk_size": 4, "work_dir": tmp_path / "run"}
    whole = fit(mesh=mesh, shard_params=True, **flags)
    fit(mesh=mesh, shard_params=True, overwrite=True, **flags | {"max_steps": 4})
    # Within the fixed tree the layout is free.
    other = {} if "model" in mesh else {"mesh": "data=1", "shard_params": False}
    assert fit(**{"mesh": mesh, "shard_params": True, "resume": True} | other, **flags) == whole


@pytest.mark.slow
def test_a_device_holds_a_shard() -> None:
    model, (params, _, _) = example("transformer")
    optimizer = make_optimizer("adamw", 0.01, 0.0, "constant", 6)
    state = TrainState(params, optimizer.init(params))
    devices = choose_devices("data=2,model=2", 8, model, deterministic=False, shard_params=True)
    X, Y = devices.place((np.zeros((9, 4), int), np.zeros((9, 4), int)))
    key = devices.place(jax.random.key(1))
    flags: dict[str, Any] = {"batch_size": 8, "max_steps": 6, "chunk_size": 3}
    chunks = train(
        model, optimizer, devices.begin(state), X, Y, key, run_chunk=devices.run_chunk, **flags
    )
    compiled = loop.train_chunk.jitted._cache_size()
    next(chunks)
    leaves = jax.tree.leaves(next(chunks).state)
    assert loop.train_chunk.jitted._cache_size() == compiled + 1
    held = sum(a.addressable_shards[0].data.nbytes for a in leaves)
    assert held < 0.4 * sum(a.nbytes for a in leaves)
    assert devices.note == ""
    whole = "head.bias, head.weight, hidden.bias, norm.bias, norm.gain"
    note = choose_devices("data=4", 8, example("mlp-bn")[0], shard_params=True).note
    assert note == f"whole on every device, since data=4 divides no axis: {whole}"


@pytest.mark.slow
def test_the_page_has_the_collectives_of_each_rule() -> None:
    page = Path(__file__).parents[2] / "docs/rules/collectives.md"
    assert collectives.table() in page.read_text("utf-8")


def dropped(x: jax.Array, axis: str) -> jax.Array:
    """An all-gather whose other devices' shares are lost."""
    return GATHER(x, axis).at[1:].set(0)


def mean(x: jax.Array, axis: str) -> jax.Array:
    """An all-gather for a mean, of which the step takes the mean again."""
    return GATHER(x, axis) / lax.axis_size(axis)


def local(tree: Any) -> Any:
    """A sum that stays on its device."""
    return jax.tree.map(parts.tree_sum, tree)


GATHER = lax.all_gather


def dropped_terms(x: jax.Array, axis: str, *_: int) -> jax.Array:
    """An all-to-all whose other devices' shares are lost."""
    return EXCHANGE(x, axis, 0, 0).at[1:].set(0)


def of_the_next(x: jax.Array, axis: str, *_: int) -> jax.Array:
    """An all-to-all that hands every device the shard of the next."""
    return EXCHANGE(jnp.roll(x, 1, 0), axis, 0, 0)


def ungrouped(columns: Any, *_: int) -> Any:
    """The columns of all heads, cut where no head ends."""
    return columns


EXCHANGE = lax.all_to_all
TREE, SHARDS, HEADS = Layout(2), Layout(2, shard_params=True), Layout(1, False, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "type", "module", "name", "mutant"),
    [
        (TREE, "bigram", lax, "all_gather", dropped),
        (TREE, "mlp-bn", lax, "all_gather", mean),
        (TREE, "mlp-bn", parts, "sum_parts", local),
        (SHARDS, "bengio", lax, "all_to_all", dropped_terms),
        (SHARDS, "bengio", lax, "all_to_all", of_the_next),
        (HEADS, "microgpt", layouts, "regroup", ungrouped),
    ],
    ids=[
        "a dropped sum",
        "a mean taken twice",
        "statistics of the local batch",
        "a dropped sum of shards",
        "the shard of another device",
        "columns that are not those of a head",
    ],
)
def test_a_wrong_collective_moves_the_gradient(
    layout: Layout, type: str, module: Any, name: str, mutant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, mutant)
    found, _ = gradient(layout, type)
    assert error(found, type) > 1000 * OFF


def test_attention_of_ones_own_is_not_replaced() -> None:
    class Own(CausalSelfAttention):
        """It may order its columns otherwise."""

    model = Chain(up=Linear(4, 12), mix=Own(4, 2, 8), down=Linear(4, 4))
    with pytest.raises(InputError) as error:
        choose_devices("model=2", 8, model, deterministic=False)
    assert "no attention to shard" in only_line(error)
