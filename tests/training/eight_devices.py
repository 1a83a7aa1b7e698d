"""Tests on eight simulated devices: tests/training/test_mesh.py runs them in a process that has
them."""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec as P

import jaxmore
from jaxmore.backprop import loss_and_grad
from jaxmore.data import write_pack
from jaxmore.errors import InputError
from jaxmore.layers import Chain, Embedding, Flatten, Layer, by_path
from jaxmore.models import MODELS, model_options
from jaxmore.training import loop
from jaxmore.training.layout import Layout
from jaxmore.training.loop import COMPILER_OPTIONS, batch_indices
from jaxmore.training.mesh import DETERMINISTIC_OPTIONS
from tests.command_line import WORDS, refused
from tests.refusals import only_line
from tests.tolerance import TOLERANCE

OFF = TOLERANCE["float32"]
COLLECTIVE = r" (all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
SIZES = {"block_size": 4, "n_layer": 1, "n_head": 4, "n_embd": 8, "n_embd2": 6}
N_BATCH_NORMS = {"mlp-bn": 1, "wavenet": 2}


@cache
def example(type: str) -> tuple[Layer, Any]:
    """A small model of a type; its parameters, and a batch of which one target is ignored."""
    sizes = {name: size for name, size in SIZES.items() if name in model_options(type)}
    model = MODELS[type].make(7, **sizes)
    rng = np.random.default_rng(1)
    windows = MODELS[type].reads == "windows"
    # Windows: parts of one row each. Sequences: of two.
    x = rng.integers(0, 7, (8, sizes.get("block_size", 1)) if windows else (16, 4))
    y = rng.integers(0, 7, 8 if windows else (16, 4))
    y.ravel()[3] = -1
    return model, (jax.jit(model.init)(jax.random.key(0)), jnp.array(x), jnp.array(y))


def gradient(layout: Layout, type: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """The loss and the gradients, and the collectives of the compiled program."""
    model, (params, x, y) = example(type)
    params, x, y = layout.begin(model, params), *layout.place((x, y))
    function = partial(layout, model)
    if layout.deterministic:
        specs = layout.specs(model, params)
        each = layout.on_each(function, (specs, P(), P()), (P(), specs))
        jitted = jax.jit(each, compiler_options=COMPILER_OPTIONS | DETERMINISTIC_OPTIONS)
    else:
        jitted = jax.jit(function)
    compiled = jitted.lower(params, x, y).compile()
    loss, grads = compiled(params, x, y)
    grads = layout.fetch(model, grads)
    found = {path: np.asarray(a) for path, a in by_path({"loss": loss, "grads": grads}).items()}
    return found, sorted(re.findall(COLLECTIVE, compiled.as_text()))


right_gradient = cache(gradient)
"""The same, once for all tests that plant no mistake."""


@cache
def without_layout(type: str) -> tuple[dict[str, Any], float]:
    """The loss and the gradients of ``loss_and_grad`` itself, and the largest gradient."""
    model, arrays = example(type)
    loss, grads = jax.jit(loss_and_grad, static_argnums=0)(model, *arrays)
    scale = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(grads))
    return by_path({"loss": loss, "grads": grads}), scale


def error(found: dict[str, np.ndarray], type: str) -> float:
    """The largest difference from one device's, in units of the largest gradient."""
    expected, scale = without_layout(type)
    return max(float(np.abs(found[path] - expected[path]).max()) for path in expected) / scale


def digest(arrays: Any) -> str:
    leaves = jax.tree.leaves(arrays)
    return hashlib.sha256(b"".join(np.asarray(a).tobytes() for a in leaves)).hexdigest()


@pytest.mark.quick("mlp-bn")
@pytest.mark.parametrize("type", ["mlp-bn", "rnn", "wavenet", "transformer"])
def test_a_gradient_has_the_same_bits_on_one_device_and_on_eight(type: str) -> None:
    (one, _), (eight, collectives) = (right_gradient(Layout(n), type) for n in (1, 8))
    assert digest(one) == digest(eight)
    assert error(one, type) < OFF
    # One of all gradients; BatchNorm takes two forward and two backward. No activation is gathered.
    assert collectives == ["all-gather"] * (1 + 4 * N_BATCH_NORMS.get(type, 0))


BIGRAM = {"type": "bigram", "n_embd": None, "n_embd2": None}


def fit(**flags: Any) -> str:
    """Train eight steps and return the digest of the parameters."""
    flags = {"batch_size": 8, "max_steps": 8, "n_embd": 4, "n_embd2": 6} | flags
    return digest(jaxmore.fit(flags.pop("words", WORDS), progress=False, **flags).params)


def batch_hashes(metrics: Path) -> list[str]:
    lines = map(json.loads, metrics.read_bytes().splitlines())
    return [line["batch_hash"] for line in lines if "batch_hash" in line]


def test_a_run_goes_on_with_the_same_bits_on_other_devices(tmp_path: Path) -> None:
    flags = {"schedule": "constant", "chunk_size": 4, "work_dir": tmp_path / "run"} | BIGRAM
    whole, metrics = fit(mesh="data=8", **flags), tmp_path / "run" / "metrics.jsonl"
    batches = batch_hashes(metrics)
    fit(mesh="data=8", overwrite=True, **flags | {"max_steps": 4})
    assert fit(mesh="data=1", resume=True, **flags) == whole
    assert batch_hashes(metrics) == batches
    assert len(set(batches)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("flags", [{}, {"shard_params": True}], ids=str)
def test_a_pack_trains_with_the_bits_of_its_words(flags: dict[str, Any], tmp_path: Path) -> None:
    """Of a pack each device is handed its rows of a batch; of words in memory it takes them."""
    words, pack = words_and_pack(tmp_path)
    flags = flags | {"type": "mlp-bn", "mesh": "data=8", "batch_size": 16, "chunk_size": 3}
    assert fit(words=pack, max_steps=6, **flags) == fit(words=words, max_steps=6, **flags)


@pytest.mark.slow
def test_in_any_order_of_addition_a_pack_trains_as_its_words(tmp_path: Path) -> None:
    flags: dict[str, Any] = {"mesh": "data=8", "deterministic": False, "batch_size": 16}
    ours, theirs = (
        by_path(jaxmore.fit(words, max_steps=8, progress=False, **flags).params)
        for words in words_and_pack(tmp_path)
    )
    for path, array in ours.items():
        np.testing.assert_allclose(array, theirs[path], rtol=0, atol=1e-5, err_msg=path)


@pytest.mark.slow
def test_a_pack_diverges_as_its_words(tmp_path: Path) -> None:
    """The replay is given whole batches, of which each device takes its rows."""
    flags = {"mesh": "data=8", "type": "bengio", "learning_rate": 1e38, "max_steps": 60}
    lines: list[str] = []
    for words in words_and_pack(tmp_path):
        with pytest.raises(InputError) as error:
            fit(words=words, **flags)
        lines.append(only_line(error))
    assert "first to turn NaN or infinite" in lines[0]
    assert lines[0] == lines[1]


def words_and_pack(folder: Path) -> tuple[Path, Path]:
    words = folder / "words.txt"
    words.write_text("\n".join(WORDS), "utf-8")
    return words, write_pack(words, folder / "pack").path


@pytest.mark.slow
def test_a_key_of_each_devices_own_moves_the_bits_and_the_hash_of_the_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = {"max_steps": 2, "learning_rate": 0.3} | BIGRAM
    flags = {"mesh": "data=2", "work_dir": tmp_path, "overwrite": True} | steps
    right = fit(**flags)
    batches = batch_hashes(tmp_path / "metrics.jsonl")
    monkeypatch.setattr(
        loop,
        "batch_indices",
        lambda key, *rest: batch_indices(jax.random.fold_in(key, lax.axis_index("data")), *rest),
    )
    jax.clear_caches()
    assert fit(**flags) != right
    jax.clear_caches()
    assert batch_hashes(tmp_path / "metrics.jsonl") != batches


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        {"optimizer": "muon", "schedule": "linear"},
        {"optimizer": "adamw", "clip_norm": 0.1, "warmup_steps": 2, "type": "bengio"},
    ],
    ids=["muon", "adamw"],
)
def test_an_optimiser_has_the_same_bits(flags: dict[str, Any]) -> None:
    assert fit(mesh="data=1", **flags) == fit(mesh="data=8", **flags)


REFUSED = {
    "--mesh data=16": "--mesh data=16 takes 16 devices, but JAX finds 8",
    "--mesh data=5": "--mesh data=5 does not divide --batch-size 12",
    "--mesh data=6": "--mesh data=6: a batch of 12 is summed in 4 parts, which data must divide",
    "--mesh rows=2": "--mesh rows=2: the axes are data and model, as in data=4,model=2",
    "--mesh data=2,data=2": "--mesh data=2,data=2: the axes are data and model",
    "--mesh model=2": "--mesh model=2: the model has no attention to shard over model",
    "--mesh model=3 --type transformer": "--mesh model=3: 3 does not divide the 4 heads",
    "--mesh model=2 --type microgpt": "--mesh model=2: the sums over model have no fixed order",
    "--mesh data=2 --shard-params --clip-norm 1": "--shard-params: --clip-norm needs whole",
    "--shard-params": "--shard-params needs --mesh",
    "--mesh data=0": "--mesh data=0: the size of data must be a whole number from 1 on",
    "--mesh data": "--mesh data: the size of data must be a whole number from 1 on",
    "--mesh data=2 --cpu-devices 4": "--cpu-devices 4: JAX has started with 8",
    "--mesh data=2 --debug": "--debug looks at one device: leave --mesh out",
    "--cpu-devices 8": "--cpu-devices needs --mesh",
    "--no-deterministic": "--no-deterministic needs --mesh",
}


@pytest.mark.parametrize("flags", REFUSED)
def test_the_wrong_flag_is_named(
    flags: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "words.txt").write_text("\n".join(WORDS), "utf-8")
    args = ["-i", tmp_path / "words.txt", "-o", tmp_path / "run", "-b", 12, *flags.split()]
    assert refused(capsys, "train", *args).startswith(f"jaxmore: {REFUSED[flags]}")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_keeps_its_mesh_where_its_bits_depend_on_it(tmp_path: Path) -> None:
    flags = {"work_dir": tmp_path, "mesh": "data=2", "deterministic": False} | BIGRAM
    fit(**flags)
    for other, line in (
        ({"mesh": "data=4"}, "--mesh is data=4, but the run has data=2"),
        ({"deterministic": True}, "--deterministic is True, but the run has False"),
        ({"shard_params": True}, "--shard-params is True, but the run has False"),
        (
            {"mesh": None, "deterministic": True},
            "the run began with --mesh, and its bits differ without it: resume it with --mesh",
        ),
    ):
        with pytest.raises(InputError) as error:
            fit(resume=True, **(flags | other))
        assert only_line(error) == line


@dataclass(frozen=True)
class Own(Layer):
    def fwd(self, params: Any, x: jax.Array, key: jax.Array | None = None) -> Any:
        return x, None

    def bwd(self, params: Any, res: Any, dy: jax.Array) -> Any:
        return {}, dy


@pytest.mark.slow
def test_a_layer_of_ones_own_is_taken_in_any_order_of_addition() -> None:
    n = len({*"".join(WORDS)}) + 1
    model = Chain(embedding=Embedding(n, n), flatten=Flatten(1), own=Own())
    flags = {"model": model, "block_size": 1, "mesh": "data=2"} | BIGRAM
    with pytest.raises(InputError) as error:
        fit(**flags)
    assert only_line(error).startswith("--mesh data=2: Own is not of jaxmore")
    fit(deterministic=False, **flags)
