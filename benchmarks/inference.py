"""Evaluation of all training windows, and sampling of 10,000 names."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.data import corpus
from benchmarks.race import Result, race, ratio, start
from jaxmore.models import MODELS
from jaxmore.training.evaluation import calibrate
from jaxmore.training.loop import TrainState, train_chunk
from jaxmore.training.optimizers import make_optimizer

EVALUATION = {
    "jaxmore": "evaluate_jaxmore",
    "PyTorch": "evaluate_torch",
    "PyTorch, distinct contexts": "evaluate_torch_distinct",
}
SAMPLING = {
    "jaxmore": "sample_jaxmore",
    "PyTorch, all names at once": "sample_torch",
    "PyTorch, one name at a time": "sample_torch_one",
}
N_WORDS = 10_000


class Trained(NamedTuple):
    """A trained network and its task, all in NumPy."""

    params: dict[str, Any]
    stats: dict[str, Any]
    X: np.ndarray
    Y: np.ndarray
    vocab_size: int
    characters: str
    n_words: int
    max_length: int


def trained(n_steps: int = 10_000, n_words: int = N_WORDS) -> Trained:
    """Train the seeds' network until its names have the lengths of names."""
    vocab = corpus().vocab
    X, Y = corpus().windows(3)
    model = MODELS["mlp-bn"].make(vocab.size)
    optimizer = make_optimizer("sgd", 0.1, 0.0, "step", 200_000)
    params = model.init(jax.random.key(0))
    state, *_ = train_chunk(
        model,
        optimizer,
        TrainState(params, optimizer.init(params)),
        jnp.array(X),
        jnp.array(Y),
        jax.random.key(1),
        jnp.asarray(0),
        batch_size=32,
        n_steps=n_steps,
    )
    stats = calibrate(model, state.params, X)
    params, stats = jax.tree.map(np.asarray, (state.params, stats))
    max_length = 2 * (corpus().block_size - 1)
    return Trained(params, stats, X, Y, vocab.size, vocab.characters, n_words, max_length)


def exact_loss(network: Trained) -> float:
    """Return the mean loss over every window, in float64 NumPy."""
    params, stats = jax.tree.map(lambda leaf: leaf.astype(np.float64), network[:2])
    hidden, norm, head = params["hidden"], params["norm"], params["head"]
    emb = params["embedding"]["weight"][network.X].reshape(len(network.X), -1)
    r = 1 / np.sqrt(stats["norm"]["var"] + 1e-5)
    x_hat = (emb @ hidden["weight"] + hidden["bias"] - stats["norm"]["mean"]) * r
    h = np.tanh(norm["gain"] * x_hat + norm["bias"])
    logits = h @ head["weight"] + head["bias"]
    logits -= logits.max(1, keepdims=True)
    nll = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(logits)), network.Y]
    return float(nll.mean())


def run_evaluation(quick: bool) -> list[dict[str, Any]]:
    """Time the mean loss of the training split; refuse a result that is off by more than 1e-6."""
    network = trained()
    with start(EVALUATION) as workers:
        results = race(workers, network, rounds=7 if quick else 15)
    exact = exact_loss(network)
    for name, result in results.items():
        np.testing.assert_allclose(result.first, exact, rtol=1e-6, err_msg=name)
    return [
        row_of(name, result, results["PyTorch"]) | {"loss": result.first, "exact_loss": exact}
        for name, result in results.items()
    ]


def run_sampling(quick: bool) -> list[dict[str, Any]]:
    """Time 10,000 names each. Random numbers differ: only mean lengths must agree (3 %)."""
    with start(SAMPLING) as workers:
        results = race(workers, trained(), rounds=3 if quick else 7)
    lengths = {name: np.mean([*map(len, result.first)]) for name, result in results.items()}
    for name, length in lengths.items():
        assert abs(length / lengths["jaxmore"] - 1) < 0.03, (name, lengths)
    return [
        row_of(name, result, results["jaxmore"]) | {"mean_length": lengths[name]}
        for name, result in results.items()
    ]


def row_of(name: str, result: Result, base: Result) -> dict[str, Any]:
    return {
        "contestant": name,
        "ms": 1e3 * result.median,
        "ratio": ratio(result, base),
        "rounds_ms": [1e3 * s for s in result.seconds],
    }
