"""The speedrun: seconds from random weights to seed 001's best dev loss, compilation included.

``python -m benchmarks speedrun`` runs the record and the seeds' own training (SGD, 200,000 steps)
in turns, each in a fresh process without a compilation cache. The clock starts with the words in
memory and stops at the exact dev loss: preparing the data, compiling, training, calibrating and
evaluating are all in it. The network and the data are those of the seeds, and every gradient is
derived by hand. docs/speedrun.md lists what was tried.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from jaxmore import mlp_bn
from jaxmore.data import Vocabulary, context_windows, corpus_path, read_words, split_words
from jaxmore.layers import Layer, Tree
from jaxmore.rules._reductions import max_keepdims
from jaxmore.training.evaluation import calibrate, distinct_rows, mean_loss
from jaxmore.training.loop import COMPILER_OPTIONS, TrainState, train
from jaxmore.training.optimizers import make_optimizer

TARGET = 2.1103
"""Seed 001's best dev loss."""
BATCH_SIZE, STEPS, LEARNING_RATE = 256, 1200, 2e-2


class Frequencies(NamedTuple):
    """The examples, grouped by distinct context."""

    contexts: Int[np.ndarray, "D T"]
    """In lexicographic order."""
    which: Int[np.ndarray, " n"]
    """The context of each example, in the order of the contexts."""
    next: Float[np.ndarray, "D V"]
    """How often each id follows each context; a row sums to 1."""


def frequencies(
    X: Int[np.ndarray, "n T"], Y: Int[np.ndarray, " n"], vocab_size: int
) -> Frequencies:
    """Count the characters that follow each context."""
    contexts, order, which = distinct_rows(X)
    pairs = which * vocab_size + Y[order]
    counts = np.bincount(pairs, minlength=len(contexts) * vocab_size).reshape(-1, vocab_size)
    return Frequencies(contexts, which, (counts / counts.sum(1, keepdims=True)).astype("float32"))


def stratified(which: Int[np.ndarray, " n"], rng: np.random.Generator) -> Int[np.ndarray, "S B"]:
    """Draw the contexts of every step, one example from each of B equal sorted parts.

    Each example is drawn as often as any other, so the gradient's mean is the same as that of
    independent draws. But no batch has two examples too many of one region, so it varies less.
    """
    places = np.arange(BATCH_SIZE) + rng.random((STEPS, BATCH_SIZE))
    return which[(places * len(which) / BATCH_SIZE).astype(int)]


def loss_and_grad(
    model: Layer, params: Tree, x: Int[Array, "B T"], q: Float[Array, "B V"]
) -> tuple[Float[Array, ""], Tree]:
    """The mean cross-entropy between the frequencies q and softmax(logits), and its gradient.

    It is the mean of the loss over all examples with these contexts, so its gradient is theirs
    without the noise of which of them were drawn. With p = softmax(z)::

        loss = −1/B Σ_v q_v log p_v = 1/B Σ_v q_v (lse(z) − z_v)
        dlogits = 1/B Σ_v q_v (p − onehot(v)) = (p − q) / B           (Σ_v q_v = 1)
    """
    logits, res = model.fwd(params, x)
    shifted = logits - max_keepdims(logits)
    exponentials = jnp.exp(shifted)
    total = exponentials.sum(-1, keepdims=True)
    dparams, _ = model.bwd(params, res, (exponentials / total - q) / len(x))
    return -(q * (shifted - jnp.log(total))).sum(-1).mean(), dparams


@partial(
    jax.jit,
    static_argnames=("model", "optimizer"),
    # Level 3 compiles longer and runs no faster.
    compiler_options=COMPILER_OPTIONS | {"xla_backend_optimization_level": 1},
)
def train_on_frequencies(
    model: Layer,
    optimizer: optax.GradientTransformation,
    params: Tree,
    contexts: Int[Array, "D T"],
    following: Float[Array, "D V"],
    batches: Int[Array, "S B"],
) -> Tree:
    """Run all steps in one scan."""

    def step(state: TrainState, batch: Int[Array, " B"]) -> tuple[TrainState, None]:
        _, grads = loss_and_grad(model, state.params, contexts[batch], following[batch])
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        return TrainState(optax.apply_updates(state.params, updates), opt_state), None

    return jax.lax.scan(step, TrainState(params, optimizer.init(params)), batches)[0].params


def record(
    model: Layer, params: Tree, X: Int[np.ndarray, "n T"], Y: Int[np.ndarray, " n"], seed: int
) -> Tree:
    """Nadam with a cosine schedule, stratified batches, the frequencies of each context.

    As one flat vector the parameters need one update, not seven: less to compile.
    """
    data = frequencies(X, Y, int(Y.max()) + 1)
    batches = stratified(data.which, np.random.default_rng(seed))
    optimizer = optax.flatten(
        optax.nadam(optax.cosine_decay_schedule(LEARNING_RATE, STEPS), b2=0.99)
    )
    arrays = map(jnp.array, (data.contexts, data.next, batches))
    return train_on_frequencies(model, optimizer, params, *arrays)


def seeds_training(
    model: Layer, params: Tree, X: Int[np.ndarray, "n T"], Y: Int[np.ndarray, " n"], seed: int
) -> Tree:
    """``jaxmore train``'s defaults: SGD 0.1 then 0.01, batch 32, 200,000 steps."""
    optimizer = make_optimizer("sgd", 0.1, 0.0, "step", 200_000)
    state = TrainState(params, optimizer.init(params))
    data = jnp.array(X), jnp.array(Y), jax.random.key(seed)
    chunks = train(
        model, optimizer, state, *data, batch_size=32, max_steps=200_000, chunk_size=1000
    )
    *_, last = chunks
    return last.state.params


RUNS: dict[str, Callable[..., Tree]] = {"record": record, "the seeds' training": seeds_training}


def timed(name: str, seed: int) -> dict[str, Any]:
    """Time one run in this process."""
    words = read_words(corpus_path())
    vocab = Vocabulary.from_words(words)
    split = split_words(words)
    model = mlp_bn(vocab.size)
    init_key, _ = jax.random.split(jax.random.key(seed))
    params = jax.block_until_ready(model.init(init_key))
    stand_in = jax.block_until_ready(jax.tree.map(jnp.copy, params))  # training donates its own
    started = time.perf_counter()
    X, Y = context_windows(split.train, vocab, 3)
    X_dev, Y_dev = context_windows(split.dev, vocab, 3)

    def dev_loss(params: Tree) -> float:
        return mean_loss(model, params, calibrate(model, params, X), X_dev, Y_dev)

    with ThreadPoolExecutor() as pool:
        compiling = pool.submit(dev_loss, stand_in)  # beside the training's program
        trained = RUNS[name](model, params, X, Y, seed)
        compiling.result()
    dev = dev_loss(trained)
    return {"seconds": time.perf_counter() - started, "dev": dev}


def run(quick: bool) -> list[dict[str, Any]]:
    """Run both in turns, each time from new random weights; return a row for each."""
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in RUNS}
    for seed in range(3 if quick else 10):
        for name in RUNS:
            print(f"speedrun, {name}, seed {seed}", flush=True)
            command = [sys.executable, "-m", "benchmarks.speedrun", name, str(seed)]
            done = subprocess.run(
                command, check=True, env=environment, stdout=subprocess.PIPE, text=True
            )
            results[name].append(json.loads(done.stdout))
    ours = [r["seconds"] for r in results["record"]]
    return [
        {
            "run": name,
            "seconds": float(np.median([r["seconds"] for r in mine])),
            "ratio": float(np.median([r["seconds"] / s for r, s in zip(mine, ours, strict=True)])),
            "dev": [r["dev"] for r in mine],
            "reached": sum(r["dev"] <= TARGET for r in mine),
        }
        for name, mine in results.items()
    ]


if __name__ == "__main__":
    print(json.dumps(timed(sys.argv[1], int(sys.argv[2]))))
