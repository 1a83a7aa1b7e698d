"""Saved models: there and back bit for bit, and nothing but what was saved."""

import json
import os
import shutil
from itertools import product
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.data import Vocabulary
from jaxmore.errors import InputError
from jaxmore.files import write_atomically
from jaxmore.layers import by_path
from jaxmore.models import mlp_bn, model_options
from jaxmore.runs.trained import Trained, load, save

OPTIONS = model_options("mlp-bn") | {"n_embd": 3, "n_embd2": 5, "block_size": 2}


@pytest.fixture(scope="module")
def saved() -> Trained:
    model = mlp_bn(4, **OPTIONS)
    params = jax.jit(model.init)(jax.random.key(0))
    X = jnp.array(np.random.default_rng(0).integers(0, 4, (9, 2)))
    stats = jax.jit(model.calibrate)(params, X)[1]
    data = {"file": "names.txt", "sha256": "0", "unique": False, "longest_word": 3}
    record = {"data": data, "training": {}, "versions": {}, "losses": {"dev": 2.0}}
    return Trained("mlp-bn", OPTIONS, Vocabulary("abc"), params, stats, record)


@pytest.fixture
def folder(saved: Trained, tmp_path: Path) -> Path:
    save(saved, tmp_path)
    return tmp_path


def test_there_and_back_bit_for_bit(saved: Trained, folder: Path) -> None:
    loaded = load(folder)
    assert loaded._replace(params={}, stats={}) == saved._replace(params={}, stats={})
    assert loaded.model == saved.model
    for name in ("params", "stats"):
        ours, theirs = by_path(getattr(saved, name)), by_path(getattr(loaded, name))
        assert jax.tree.structure(getattr(saved, name)) == jax.tree.structure(getattr(loaded, name))
        for path, leaf in ours.items():
            np.testing.assert_array_equal(leaf, theirs[path])
            assert leaf.dtype == theirs[path].dtype
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_saving_again_replaces_and_the_same_model_gives_the_same_bytes(saved, folder) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    save(saved, folder)
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def damage_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-3] ^= 4
    (folder / "model.safetensors").write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "holds no trained model"),
        (lambda f: (f / "config.json").unlink(), "holds no trained model"),
        (lambda f: (f / "model.safetensors").unlink(), "is missing"),
        (lambda f: (f / "config.json").write_text("{", encoding="utf-8"), "damaged"),
        (lambda f: (f / "config.json").write_text("[]", encoding="utf-8"), "cannot be read"),
        (lambda f: (f / "config.json").write_text("{}", encoding="utf-8"), "cannot be read"),
        (flip_a_bit, "not the file that"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "not the file that"),
        (lambda f: damage_config(f, format=2), "format 2"),
        (lambda f: damage_config(f, type="os.system"), "cannot be read"),
        (lambda f: damage_config(f, vocabulary="abcd"), "has shape"),
        (lambda f: damage_config(f, options=OPTIONS | {"n_embd2": 10**9}), "has shape"),
        (lambda f: damage_config(f, options=OPTIONS | {"hidden_bias": False}), "instead of"),
        (lambda f: damage_config(f, options=OPTIONS | {"magic": 1}), "cannot be read"),
        (lambda f: damage_config(f, losses={"dev": "low"}), "losses"),
        (lambda f: damage_config(f, data={"file": "names.txt"}), "data"),
    ],
)
def test_damage_is_named_in_one_line(folder: Path, damage, message: str) -> None:
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


class Killed(BaseException):
    """The process is gone."""


RENAMES = ["model.safetensors.new", "config.json", "model.safetensors"]


@pytest.mark.parametrize("killed_at", [*product(RENAMES, repeat=2)])
def test_killed_between_its_files_a_save_leaves_the_old_model_or_the_new(
    saved: Trained, folder: Path, monkeypatch, killed_at
) -> None:
    def save_with(number: int) -> None:
        head = jax.tree.map(lambda a: jnp.full_like(a, number), saved.params["head"])
        record = saved.record | {"losses": {"dev": float(number)}}
        save(saved._replace(params=saved.params | {"head": head}, record=record), folder)

    save_with(0)
    whole = 0.0
    for number, at in enumerate(killed_at, 1):

        def rename(source: Path, target: Path, at=at, rename=os.replace) -> None:
            if Path(target).name == at:
                raise Killed
            rename(source, target)

        with monkeypatch.context() as patch:
            patch.setattr("os.replace", rename)
            with pytest.raises(Killed):
                save_with(number)
        loaded = load(folder)
        assert loaded.record["losses"]["dev"] in (whole, number)
        whole = loaded.record["losses"]["dev"]
        np.testing.assert_array_equal(loaded.params["head"]["bias"], whole)
    save_with(9)
    assert load(folder).record["losses"]["dev"] == 9
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_numbers_that_no_model_has_are_refused(saved: Trained, folder: Path) -> None:
    head = saved.params["head"] | {"bias": saved.params["head"]["bias"].at[1].set(np.nan)}
    save(saved._replace(params=saved.params | {"head": head}), folder)
    with pytest.raises(InputError, match="NaN"):
        load(folder)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "model"
    write_atomically(path, b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert path.read_bytes() == b"old"
