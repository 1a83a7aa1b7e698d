"""Checkpoints: there and back bit for bit, and the newest whole one whatever happened."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorstore import KvStore

from jaxmore.errors import InputError
from jaxmore.runs import checkpoints
from jaxmore.runs.checkpoints import (
    latest_checkpoint,
    mark_damaged,
    restore,
    seal,
    write_checkpoint,
)
from jaxmore.training.loop import TrainState
from jaxmore.training.optimizers import make_optimizer

RECORD = {"format": 1, "vocabulary": "aé"}


def a_state(seed: int = 0, width: int = 5, optimizer: str = "adamw") -> TrainState:
    """A state of awkward values: a NaN's payload aside, every bit must come back."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(3, width)).astype(np.float32)
    weight[0, :3] = [-0.0, 1e-40, np.inf]
    params = {"head": {"weight": jnp.array(weight), "bias": jnp.ones(1)}, "act": {}}
    state = TrainState(params, make_optimizer(optimizer, 0.1, 0.01, "step", 9).init(params))
    return jax.tree.map(np.array, state)


def assert_same_bits(a: TrainState, b: TrainState) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for left, right in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert np.asarray(left).dtype == np.asarray(right).dtype
        assert np.asarray(left).tobytes() == np.asarray(right).tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for step in (10, 20, 30):
        write_checkpoint(tmp_path, step, a_state(step), RECORD)
    return tmp_path


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_there_and_back_bit_for_bit(tmp_path: Path, optimizer: str) -> None:
    state = a_state(optimizer=optimizer)
    write_checkpoint(tmp_path, 7, state, RECORD)
    checkpoint, damaged = latest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint[1:] == (7, RECORD)
    assert not damaged
    assert_same_bits(restore(checkpoint.path, jax.eval_shape(lambda: state)), state)


def test_orbax_is_given_no_json_that_leaks(tmp_path: Path, monkeypatch) -> None:
    def leaks(spec: KvStore.Spec) -> None:
        pytest.fail(f"of {spec.url} tensorstore would leak four strings")

    monkeypatch.setattr(KvStore.Spec, "to_json", leaks)
    write_checkpoint(tmp_path, 10, a_state(), RECORD)


@pytest.mark.parametrize(
    "spec", [{"driver": "file", "path": "/a b/%é/"}, {"driver": "memory", "path": "a/"}]
)
def test_the_json_of_a_spec_is_that_of_tensorstore(spec: dict[str, str]) -> None:
    its_own = KvStore.Spec(spec).to_json()
    with checkpoints._no_leak():  # pyright: ignore[reportPrivateUsage]
        assert KvStore.Spec(spec).to_json() == its_own == spec
    assert KvStore.Spec(spec).to_json() == spec


def test_the_newest_are_kept(folder: Path) -> None:
    write_checkpoint(folder, 40, a_state(), RECORD)
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert names == ["step-000000000020", "step-000000000030", "step-000000000040"]


def test_a_damaged_one_is_named_set_aside_and_replaced(folder: Path) -> None:
    newest = folder / "checkpoints" / "step-000000000030"
    (newest / "record.json").write_text("{}", encoding="utf-8")
    checkpoint, damaged = latest_checkpoint(folder)
    assert checkpoint is not None
    assert checkpoint.step == 20
    assert damaged == {newest: "'record.json' is not as it was sealed"}
    assert mark_damaged(newest).name == "damaged-step-000000000030"
    assert latest_checkpoint(folder)[1] == {}
    write_checkpoint(folder, 30, a_state(30), RECORD)
    checkpoint, _ = latest_checkpoint(folder)
    assert checkpoint is not None
    assert checkpoint.step == 30


def test_a_half_written_one_is_no_checkpoint(folder: Path, monkeypatch) -> None:
    def crash(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "seal", crash)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(folder, 40, a_state(), RECORD)
    monkeypatch.undo()
    checkpoint, damaged = latest_checkpoint(folder)
    assert checkpoint is not None
    assert checkpoint.step == 30
    assert not damaged
    write_checkpoint(folder, 40, a_state(), RECORD)
    assert sorted(p.name for p in (folder / "checkpoints").iterdir())[0].startswith("step")


def test_all_damaged_is_none(folder: Path) -> None:
    for path in (folder / "checkpoints").iterdir():
        shutil.rmtree(path / "state")
    checkpoint, damaged = latest_checkpoint(folder)
    assert checkpoint is None
    assert len(damaged) == 3


def test_a_whole_checkpoint_of_another_shape_is_refused_in_one_line(folder: Path) -> None:
    checkpoint, _ = latest_checkpoint(folder)
    assert checkpoint is not None
    for other in (a_state(width=6), a_state(optimizer="sgd")):
        with pytest.raises(InputError, match="cannot be read") as caught:
            restore(checkpoint.path, other)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["shape", "chunks"])
def test_a_huge_declared_shape_is_refused_before_it_is_allocated(tmp_path, key: str) -> None:
    import tensorstore

    state = a_state()
    write_checkpoint(tmp_path, 1, state, RECORD)
    checkpoint, _ = latest_checkpoint(tmp_path)
    assert checkpoint is not None
    base = f"file://{checkpoint.path}/state/"
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
    name = "params.head.weight/.zarray"
    header = json.loads(store[name]) | {key: [3, 10**12]}
    store[name] = json.dumps(header)
    (checkpoint.path / "manifest.sha256").unlink()
    seal(checkpoint.path)  # a hostile checkpoint is sealed as well as any
    assert latest_checkpoint(tmp_path)[0] is not None
    with pytest.raises(InputError, match="has shape"):
        restore(checkpoint.path, jax.eval_shape(lambda: state))
