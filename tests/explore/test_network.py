"""The network's programs in the page's interpreter against JAX: a pass, and hundreds of steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.explore import network
from jaxmore.ninja import stepwise
from tests.explore.node import PAGE, node, run_programs
from tests.ninja.test_stepwise import ODD, SEED_001, draw, named

TRAIN = """
import { readFileSync } from "node:fs";
import { Program } from "%s/interpreter.js";
const { forward, backward, sgd, params, batches, rate } = JSON.parse(readFileSync(0, "utf8"));
const [f, b, s] = [forward, backward, sgd].map((program) => new Program(program));
let state = params;
const kept = {};
batches.forEach(([X, Y], step) => {
  const values = f.run({ ...state, X, Y }).values();
  const cotangents = b.run({ ...state, X, Y, ...values }).values();
  state = s.run({ ...state, ...cotangents, learning_rate: [rate] }).values();
  if ([1, 10, 200].includes(step + 1)) {
    kept[step + 1] = { loss: values.loss[0], ...Object.fromEntries(
      Object.entries(state).map(([name, array]) => [name, Array.from(array)])) };
  }
});
console.log(JSON.stringify(kept));
"""


def _sizes(sizes):
    return network.Sizes(*sizes[:5])


@pytest.mark.parametrize("sizes", [SEED_001, ODD], ids=str)
@pytest.mark.quick("float64")
def test_values_and_cotangents_equal_autograds(oracle, sizes, dtype, tolerance):
    """Within the condition scale of PyTorch's autograd, as the rules themselves are."""
    params, X, Y = draw(sizes, dtype)
    values, cotangents = oracle.network(named(params), X, Y)
    inputs = named(params) | {"X": X, "Y": Y}
    forward = network.forward_program(_sizes(sizes), dtype)
    (ours,) = run_programs([(forward, inputs)])
    assert list(ours) == list(values)
    for name, value in ours.items():
        oracle.assert_close(name, value, values[name], tolerance)
    backward = network.backward_program(_sizes(sizes), dtype)
    (ours,) = run_programs([(backward, inputs | ours)])
    assert len(ours) == 26
    for name, value in ours.items():
        oracle.assert_close(name, value, cotangents[name[1:]], tolerance)


@pytest.mark.parametrize("dtype", ["float64"], indirect=True)
@pytest.mark.slow
def test_parameters_after_200_steps_equal_jaxs(dtype):
    sizes = SEED_001
    params, *_ = draw(sizes, dtype)
    rng = np.random.default_rng(1)
    X = rng.integers(0, sizes.V, (200, sizes.B, sizes.T))
    Y = rng.integers(0, sizes.V, (200, sizes.B))
    ours = node(
        TRAIN % PAGE,
        {
            "forward": network.forward_program(_sizes(sizes)),
            "backward": network.backward_program(_sizes(sizes)),
            "sgd": network.sgd_program(_sizes(sizes)),
            "params": {k: np.asarray(v).ravel().tolist() for k, v in named(params).items()},
            "batches": [[x.ravel().tolist(), y.tolist()] for x, y in zip(X, Y, strict=True)],
            "rate": 0.1,
        },
    )
    step = jax.jit(network.sgd_step)
    for i, (x, y) in enumerate(zip(jnp.array(X), jnp.array(Y), strict=True), 1):
        values = stepwise.forward(params, x, y)
        d = stepwise.backward(params, x, y, values)
        grads = stepwise.Parameters(*(getattr(d, name) for name in network.NAMES))
        params = step(params, grads, 0.1)
        if i not in (1, 10, 200):
            continue
        theirs = named(params) | {"loss": values.loss}
        for name, right in theirs.items():
            # The bound of one step, 1e-12, also after two hundred: training does not amplify it.
            scale = float(jnp.abs(right).max())
            off = np.abs(np.ravel(right) - ours[str(i)][name]).max()
            assert off <= 1e-12 * scale, (i, name, off / scale)
