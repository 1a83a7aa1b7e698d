"""A run that diverges says where, in what, and leaves the last good checkpoint."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.errors import KeyReuseError

from jaxmore import cli
from jaxmore.layers import Tree
from jaxmore.models import bengio
from jaxmore.runs.checkpoints import latest_checkpoint
from jaxmore.runs.training_run import _debugging as debugging
from jaxmore.training.divergence import diverged_at, first_non_finite
from jaxmore.training.loop import Chunk, TrainState
from jaxmore.training.loop import train as run_chunks
from jaxmore.training.optimizers import make_optimizer
from tests.command_line import WORDS

MODEL = bengio(4, block_size=2, n_embd=2, n_embd2=3)
SGD = make_optimizer("sgd", 0.1, 0.0, "constant", 9)


def chunk(losses: list[float], params: Tree | None = None, ratio: float = -3.0) -> Chunk:
    return Chunk(
        10, TrainState(params or {}, ()), np.array(losses, np.float32), {"weight": ratio}, 0
    )


def test_where_it_diverged() -> None:
    nan, inf = float("nan"), float("inf")
    assert diverged_at(chunk([1.0, 2.0])) is None
    assert diverged_at(chunk([1.0, inf, nan])) == 8
    assert diverged_at(chunk([1.0, nan, 2.0]), skipping=True) is None
    assert diverged_at(chunk([nan, nan]), skipping=True) is None
    # Losses that are fine, but the last update was not.
    assert diverged_at(chunk([1.0, 2.0], {"weight": jnp.array([1.0, nan])}, ratio=nan)) == 10
    assert diverged_at(chunk([1.0, 2.0], {"weight": jnp.array([1.0, 3e38])}, ratio=nan)) is None


def first(params: Tree, bad_step: int = 5, optimizer=SGD) -> str:
    ids = jnp.array(np.random.default_rng(0).integers(0, 4, (20, 2)))
    state = TrainState(params, optimizer.init(params))
    return first_non_finite(
        MODEL,
        optimizer,
        state,
        ids,
        ids[:, 0],
        jax.random.key(1),
        first_step=5,
        bad_step=bad_step,
        batch_size=6,
    )


@pytest.mark.slow
def test_the_first_variable_to_turn_is_named() -> None:
    params = MODEL.init(jax.random.key(0))
    huge = params | {"hidden": jax.tree.map(lambda a: a * 3e38, params["hidden"])}
    assert first(huge) == "hidden at step 5"
    huge = params | {"head": jax.tree.map(lambda a: a * 3e38, params["head"])}
    assert first(huge) == "head at step 5"
    # Finite losses, but the head's weights are so large that the cotangent of act overflows.
    steep = params | {"head": params["head"] | {"weight": params["head"]["weight"] * 1e38}}
    assert "step" in first(steep, bad_step=6)
    fast = make_optimizer("sgd", 3e38, 0.0, "constant", 9)
    assert first(MODEL.init(jax.random.key(0)), 6, fast).endswith("by the update of step 5")


def train(tmp_path: Path, *flags: str) -> Path:
    (tmp_path / "words.txt").write_text("\n".join(WORDS), encoding="utf-8")
    small = ["--type", "bengio", "--n-embd2", "9", "-b", "5", "--save-every", "0"]
    files = ["-i", str(tmp_path / "words.txt"), "-o", str(tmp_path / "out")]
    cli.main(["train", *files, *small, *flags])
    return tmp_path / "out"


# Weight decay this strong makes every parameter −2 times itself, until it overflows.
DOUBLING = ["-w", "30", "--schedule", "constant", "--max-steps", "400", "--chunk-size", "10"]


@pytest.mark.slow
def test_skipped_steps_end_a_run_at_the_same_one_whatever_the_cadence(monkeypatch) -> None:
    """Every step is bad: three are skipped, and the fourth, step 8, spoils the parameters."""
    monkeypatch.setattr("jaxmore.training.optimizers.MOST_SKIPPED", 3)
    monkeypatch.setattr("jaxmore.training.divergence.MOST_SKIPPED", 3)
    skipping = make_optimizer.__wrapped__("sgd", 0.1, 0.0, "constant", 9, "skip")
    params = MODEL.init(jax.random.key(0))
    head = jax.tree.map(lambda a: jnp.full_like(a, 3e38), params["head"])
    huge = params | {"head": head}
    ids = jnp.array(np.random.default_rng(0).integers(0, 4, (20, 2)))
    for size in (1, 10):
        state = TrainState(jax.tree.map(jnp.copy, huge), skipping.init(huge))
        data = (ids, ids[:, 0], jax.random.key(1))
        chunks = run_chunks(
            MODEL, skipping, state, *data, batch_size=6, max_steps=15, chunk_size=size, first_step=5
        )
        bad = [step for c in chunks if (step := diverged_at(c, skipping=True)) is not None]
        assert bad[0] == 8
    assert first(huge, 8, skipping) == "head at step 8"


@pytest.mark.parametrize("on_nan", ["stop", "skip"])
@pytest.mark.quick("stop")
def test_a_run_that_diverges_keeps_its_last_good_checkpoint(tmp_path, capsys, on_nan) -> None:
    with pytest.raises(SystemExit) as stop:
        train(tmp_path, *DOUBLING, "--on-nan", on_nan)
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert err.count("\n") == 1
    assert "diverged at step 1" in err  # after some 120 steps
    assert "first to turn NaN or infinite: " in err
    assert "is kept" in err
    assert "loss:" not in out
    checkpoint, damaged = latest_checkpoint(tmp_path / "out")
    assert checkpoint is not None
    assert 0 < checkpoint.step < 200
    assert not damaged
    assert not (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.slow
def test_a_skipped_step_changes_nothing() -> None:
    optimizer = make_optimizer("adamw", 0.1, 0.01, "constant", 9, "skip")
    params = {"weight": jnp.array([1.0, -2.0])}
    state = optimizer.init(params)
    nan = {"weight": jnp.array([jnp.nan, 1.0])}
    for _ in range(7):
        updates, state = optimizer.update(nan, state, params)
        np.testing.assert_array_equal(updates["weight"], 0)
    updates, state = optimizer.update(params, state, params)
    assert (np.asarray(updates["weight"]) != 0).all()


@pytest.mark.slow
def test_debug_trains_the_same_and_finds_a_nan(tmp_path, capsys) -> None:
    plain = train(tmp_path, "--max-steps", "20", "--chunk-size", "10")
    before = (plain / "model.safetensors").read_bytes()
    checks = train(tmp_path, "--max-steps", "20", "--chunk-size", "10", "--debug", "--overwrite")
    assert (checks / "model.safetensors").read_bytes() == before
    assert not jax.config.jax_debug_nans
    with pytest.raises(SystemExit):
        train(tmp_path, *DOUBLING, "--debug", "--overwrite")
    err = capsys.readouterr().err
    assert err.startswith("jaxmore: --debug: ")
    assert "line " in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_debug_finds_a_key_used_twice_and_a_leaked_tracer() -> None:
    leaked: list[jax.Array] = []
    with debugging(on=True):
        key = jax.random.key(0)
        jax.random.normal(key)
        with pytest.raises(KeyReuseError):
            jax.random.normal(key)
        with pytest.raises(Exception, match="Leaked"):
            jax.jit(lambda x: leaked.append(x))(1.0)
