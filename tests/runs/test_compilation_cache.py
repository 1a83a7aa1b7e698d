"""What the commands compile is kept, gives the same bits, and never stands in the way of a run."""

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from jaxmore.runs import compilation_cache
from jaxmore.runs.compilation_cache import SWITCHES, use_compilation_cache
from tests.command_line import WORDS

pytestmark = pytest.mark.slow


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's environment with an empty cache folder; what it gains is taken back."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with patch.dict(os.environ, XDG_CACHE_HOME=str(tmp_path / "cache")):
        for name in SWITCHES:
            os.environ.pop(name, None)
        yield tmp_path / "cache"


def test_a_second_run_loads_the_same_bits_and_mends_a_damaged_cache(environment, tmp_path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    flags = ["--type", "bengio", "--n-embd2", "9", "-b", "5", "--max-steps", "20"]

    def train(out: str) -> list[bytes]:
        command = [sys.executable, "-m", "jaxmore", "train", "-i", words, "-o", tmp_path / out]
        done = subprocess.run([*command, *flags], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return [
            (tmp_path / out / name).read_bytes() for name in ("model.safetensors", "metrics.jsonl")
        ]

    compiled = train("compiled")
    before = {path.name: path for path in environment.rglob("*-cache")}
    assert any(name.startswith("jit_scan_steps") for name in before)
    (loss,) = [path for name, path in before.items() if name.startswith("jit__total_loss")]
    loss.write_bytes(loss.read_bytes()[:99])  # read after train_chunk was loaded
    assert train("loaded") == compiled
    after = {path.name for path in environment.rglob("*-cache")}
    assert not any(name.startswith("jit_scan_steps") for name in after)  # begun anew


def test_a_cache_that_is_turned_off_stays_off(environment, monkeypatch) -> None:
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")
    before = dict(os.environ)
    use_compilation_cache()
    assert dict(os.environ) == before
    assert not environment.exists()


def test_a_folder_of_the_users_own_is_used_and_repaired_alike(
    environment, monkeypatch, tmp_path
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_: shown.append(str(message)))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", raising=False)
    use_compilation_cache()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path)
    assert os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] == "0"
    assert not environment.exists()
    for name in ("jit_add-12ab-cache", "jit_adder-12ab-cache", "mine"):
        (tmp_path / name).touch()
    cut = "Error reading persistent compilation cache entry for 'jit_add': cut short"
    warnings.showwarning(cut, UserWarning, "file.py", 1)
    denied = "Error writing persistent compilation cache entry for 'jit_mul': Permission denied"
    warnings.showwarning(denied, UserWarning, "file.py", 1)
    assert shown == []
    assert {path.name for path in tmp_path.iterdir()} == {"jit_adder-12ab-cache", "mine"}


@pytest.mark.skipif(os.name == "nt", reason="such names are POSIX's")
@pytest.mark.parametrize("name", ["XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"])
def test_a_folder_whose_name_is_not_utf8_is_done_without(
    environment, monkeypatch, tmp_path, name
) -> None:
    monkeypatch.setenv(name, os.fsdecode(os.fsencode(tmp_path) + b"/d\xe9"))
    use_compilation_cache()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def test_a_folder_that_cannot_be_is_done_without(environment) -> None:
    environment.write_text("a file where the folder should be", encoding="utf-8")
    before = dict(os.environ)
    use_compilation_cache()
    assert dict(os.environ) == before


def test_a_warning_of_the_cache_empties_it_and_others_are_shown(environment, monkeypatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_: shown.append(str(message)))
    use_compilation_cache()
    (folder,) = environment.glob("jaxmore/compiled/*")
    (folder / "an-entry").touch()
    warnings.showwarning("mind the gap", UserWarning, "file.py", 1)
    assert shown == ["mind the gap"]
    assert [*folder.iterdir()]
    cut = "Error reading persistent compilation cache entry for 'jit_add': cut short"
    warnings.showwarning(cut, UserWarning, "file.py", 1)
    assert shown == ["mind the gap"]
    assert folder.is_dir() and not [*folder.iterdir()]


def test_it_does_not_grow_for_ever(environment, monkeypatch) -> None:
    old = environment / "jaxmore" / "compiled" / "jax-0.1"
    old.mkdir(parents=True)
    (old / "an-entry").write_bytes(bytes(50_000))
    monkeypatch.setattr(compilation_cache, "LARGEST", 100_000)
    use_compilation_cache()
    assert old.exists()
    del os.environ["JAX_COMPILATION_CACHE_DIR"]
    (old / "another").write_bytes(bytes(50_001))
    use_compilation_cache()
    assert not old.exists()
    assert Path(os.environ["JAX_COMPILATION_CACHE_DIR"]).is_dir()


SETS_NOTHING = """
import logging, os, random, signal, sys, warnings
import jax, jax.numpy as jnp, numpy as np, optax
import scipy.optimize  # like those above it has effects of its own

def settings():
    loggers = [logging.root, *map(logging.getLogger, LOGGERS)]
    return {
        "jax": str(sorted(jax.config.values.items())),
        "environment": dict(os.environ),
        "errors": np.geterr(),
        "printing": np.get_printoptions(),
        "filters": list(warnings.filters),
        "hooks": (warnings.showwarning, sys.excepthook, sys.getrecursionlimit()),
        "random": random.getstate(),
        "numpy.random": str(np.random.get_state()),
        "logging": [(x.name, x.level, x.disabled, x.handlers[:], x.filters[:]) for x in loggers],
        "signals": [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)],
    }

LOGGERS = list(logging.root.manager.loggerDict)
before = settings()
import jaxmore
assert settings() == before, "import jaxmore"
import jaxmore.training.loop, jaxmore.training.optimizers
model = jaxmore.models.bengio(5, block_size=2, n_embd=3, n_embd2=4)
params = model.init(jax.random.key(0))
optimizer = jaxmore.training.optimizers.make_optimizer("adamw", 0.1, 0.0, "constant", 9)
X, Y = jnp.array([[1, 2], [3, 4], [0, 1]]), jnp.array([3, 0, 2])
loss, grads = jax.jit(jaxmore.loss_and_grad, static_argnums=0)(model, params, X, Y)
updates, _ = optimizer.update(grads, optimizer.init(params), params)
assert jaxmore.loss_and_grad(model, optax.apply_updates(params, updates), X, Y)[0] < loss
jaxmore.testing.check_rule(jaxmore.rules.tanh_fwd, jaxmore.rules.tanh_bwd, jnp.ones((2, 3)))
after = settings()
assert after == before, [name for name in before if before[name] != after[name]]
"""


def test_the_library_sets_nothing() -> None:
    """Not by its import, nor by a step of training and a check of a rule."""
    environment = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    command = [sys.executable, "-c", SETS_NOTHING]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
