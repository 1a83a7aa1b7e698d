"""--dtype bfloat16: forward and backward in bfloat16, all that is kept in float32."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmore
from jaxmore.backprop import loss_and_grad
from jaxmore.cli import main
from jaxmore.errors import InputError
from jaxmore.models import MODELS
from jaxmore.training.precision import loss_and_bfloat16_grad

WORDS = ["emma", "olivia", "ava", "isabella", "sophia", "mia", "zoe", "lily", "nora", "aria"] * 4


@pytest.mark.parametrize("type", ["mlp-bn", pytest.param("transformer", marks=pytest.mark.slow)])
def test_the_gradient_is_that_of_float32_to_the_digits_of_bfloat16(type: str):
    options = {"n_layer": 1} if type == "transformer" else {}
    model = MODELS[type].make(27, **jaxmore.models.model_options(type) | options)
    params = jax.jit(model.init)(jax.random.key(0))
    T = 3 if MODELS[type].reads == "windows" else 8
    x = jax.random.randint(jax.random.key(1), (16, T), 0, 27)
    y = jax.random.randint(jax.random.key(2), (16,) if T == 3 else (16, T), 0, 27)
    full = jax.jit(loss_and_grad, static_argnums=0)(model, params, x, y)
    half = jax.jit(loss_and_bfloat16_grad, static_argnums=0)(model, params, x, y)
    assert half[0].dtype == jnp.float32
    assert abs(half[0] - full[0]) < 0.02
    for a, b in zip(jax.tree.leaves(half[1]), jax.tree.leaves(full[1]), strict=True):
        assert a.dtype == jnp.float32
        scale = np.abs(b).max()
        assert np.abs(a - b).max() < 0.1 * scale + 1e-4  # b1's gradient is zero
    assert any(
        not np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(half[1]), jax.tree.leaves(full[1]), strict=True)
    )


def test_products_are_computed_in_bfloat16():
    model = MODELS["mlp-bn"].make(27)
    params = jax.eval_shape(model.init, jax.random.key(0))
    x, y = jnp.zeros((4, 3), int), jnp.zeros(4, int)
    program = jax.jit(loss_and_bfloat16_grad, static_argnums=0).lower(model, params, x, y)
    products = [line for line in program.as_text().splitlines() if "dot_general" in line]
    assert len(products) == 6  # two layers: y, dx, dW
    assert all("bf16" in line.split(" : ")[1].split("->")[0] for line in products)


@pytest.mark.slow
def test_a_run_ends_where_float32_ends():
    ends = [
        jaxmore.fit(WORDS, "mlp-bn", max_steps=300, dtype=dtype).record["losses"]["train"]
        for dtype in ("float32", "bfloat16")
    ]
    assert ends[0] != ends[1]
    assert ends[1] == pytest.approx(ends[0], abs=0.01)


def test_a_run_keeps_its_dtype_when_it_is_resumed(tmp_path, capsys):
    words = tmp_path / "words.txt"
    words.write_text("\n".join(WORDS), "utf-8")
    train = ["train", "-i", str(words), "--type", "bigram", "--schedule", "constant"]
    train += ["--dtype", "bfloat16"]
    main([*train, "-o", str(tmp_path / "whole"), "--max-steps", "20"])
    main([*train, "-o", str(tmp_path / "parts"), "--max-steps", "10"])
    main(["train", "-o", str(tmp_path / "parts"), "--resume", "--max-steps", "20"])
    whole, parts = (jaxmore.load(tmp_path / name) for name in ("whole", "parts"))
    assert parts.record["training"]["dtype"] == "bfloat16"
    assert jax.tree.all(jax.tree.map(np.array_equal, whole.params, parts.params))
    assert {leaf.dtype for leaf in jax.tree.leaves(whole.params)} == {jnp.dtype("float32")}


@pytest.mark.slow
def test_diagnose_measures_the_gradient_of_the_run(tmp_path):
    ratios = {}
    for dtype in ("float32", "bfloat16"):
        folder = tmp_path / dtype
        flags = {"max_steps": 1, "dtype": dtype, "diagnose": True, "learning_rate": 1e-30}
        jaxmore.fit(WORDS, "bengio", work_dir=folder, **flags)
        line = (folder / "metrics.jsonl").read_text("utf-8").splitlines()[0]
        ratios[dtype] = json.loads(line)["gradient_to_data"]
    assert ratios["float32"] != ratios["bfloat16"]


def test_fit_refuses_a_dtype_that_the_command_line_refuses():
    with pytest.raises(InputError, match="dtype cannot be 'float16'"):
        jaxmore.fit(WORDS, "bengio", dtype="float16")


@pytest.mark.parametrize("flags", ["--mesh data=1", "--debug", "--dtype float16"])
def test_what_does_not_go_with_it(flags: str, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "-o", str(tmp_path / "out"), "--dtype", "bfloat16", *flags.split()])
    assert stop.value.code == 2
    assert not (tmp_path / "out").exists()
