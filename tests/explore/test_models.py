"""Every model that ships as a program in the page's interpreter, against JAX."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.backprop import trace
from jaxmore.explore import models
from jaxmore.layers import by_path
from jaxmore.models import MODELS
from tests.explore.node import PAGE, node, run_programs
from tests.tolerance import TOLERANCE

pytestmark = pytest.mark.slow  # tests/explore/test_word_page.py runs three types

TRAIN = """
import { readFileSync } from "node:fs";
import { Program } from "%s/interpreter.js";
const { trace, sgd, inputs } = JSON.parse(readFileSync(0, "utf8"));
const [places, update] = [new Program(trace), new Program(sgd)];
let params = {};
for (let step = 0; step < 10; step++) {
  const cotangents = places.run({ ...inputs, ...params }).values();
  params = update.run({ ...inputs, ...params, ...cotangents, learning_rate: [0.1] }).values();
}
console.log(JSON.stringify(Object.fromEntries(
  Object.entries(params).map(([path, array]) => [path, Array.from(array)]))));
"""
V = 11
SIZES = {"block_size": 8, "n_embd": 6, "n_embd2": 7, "n_layer": 2, "n_head": 2}


def small(type):
    """A small model, generic parameters, and a batch in which ids come back and targets miss."""
    make, reads = MODELS[type].make, MODELS[type].reads
    options = {k: v for k, v in SIZES.items() if k in inspect.signature(make).parameters}
    model = make(V, **options)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda p: jnp.array(p + 0.1 * rng.normal(size=p.shape), float),
        model.init(jax.random.key(0)),
    )
    x = rng.integers(0, V, (5, 8))
    y = rng.integers(0, V, (5, 8) if reads == "sequences" else 5)
    if reads == "sequences":
        y[0, -2:] = -1
    return model, params, jnp.array(x, "int32"), jnp.array(y, "int32")


# The page computes in float64. In float32, test_primitives.py has each primitive.
CASES = [(type, "float64") for type in MODELS]
CASES += [(type, "float32") for type in ("transformer", "mlp-bn", "gru")]


@pytest.mark.parametrize(("type", "dtype"), CASES, indirect=["dtype"])
def test_every_place_and_cotangent_equals_jaxs(type, dtype):
    model, params, x, y = small(type)
    program = models.trace_program(model, params, x, y, dtype)
    (ours,) = run_programs([(program, by_path(params) | {"x": x, "y": y})])
    theirs = trace(model, params, x, y)
    assert ours.keys() == {name for path in theirs for name in (path, f"d{path}")}
    # What is zero by identity (a bias before BatchNorm) is rounding: its scale is that of the rest.
    usual = max(float(jnp.abs(d).max()) for path, (_, d) in theirs.items() if path != "loss")
    for path, (value, cotangent) in theirs.items():
        for name, right in ((path, value), (f"d{path}", cotangent)):
            scale = float(jnp.abs(right).max())
            is_rounding = scale < 100 * jnp.finfo(dtype).eps * usual
            off = np.abs(np.asarray(right) - ours[name]).max(initial=0)
            assert ours[name].shape == right.shape
            assert off <= TOLERANCE[dtype] * (usual if is_rounding else scale), (name, off, scale)


@pytest.mark.parametrize("dtype", ["float64"], indirect=True)
@pytest.mark.parametrize("type", MODELS)
def test_ten_steps_equal_jaxs(type, dtype):
    model, params, x, y = small(type)
    program = models.trace_program(model, params, x, y)
    step = models.sgd_program(params)
    ours = {k: np.asarray(v) for k, v in by_path(params).items()}
    theirs = dict(by_path(params))
    leaves, tree = jax.tree.flatten(params)
    assert len(leaves) == len(ours)
    inputs = {k: np.ravel(v).tolist() for k, v in (ours | {"x": x, "y": y}).items()}
    ours = node(TRAIN % PAGE, {"trace": program, "sgd": step, "inputs": inputs})
    for _ in range(10):
        right = trace(model, jax.tree.unflatten(tree, list(theirs.values())), x, y)
        theirs = {k: v - 0.1 * right[k][1] for k, v in theirs.items()}
    for path, right in theirs.items():
        scale = float(jnp.abs(right).max())
        assert np.abs(np.ravel(right) - ours[path]).max() <= 1e-12 * scale, path
