"""Training of every other model: at makemore.py's defaults, and the transformer at larger sizes."""

from typing import Any, NamedTuple

import numpy as np

from benchmarks.data import corpus
from benchmarks.race import check_losses, race, ratio, start
from benchmarks.task import Task, make_task
from jaxmore.models import MODELS, model_options

CONTESTANTS = {
    "jaxmore": "jaxmore_scan",
    "jax.grad, same scan": "grad_scan",
    "PyTorch, autograd": "torch_twin",
}
WRITTEN_FOR_GRAD = {"jax.grad, plain attention": "grad_plain_scan"}
"""jax.grad through jaxmore's attention must keep what jaxmore recomputes. So the transformer has a
second peer, written for jax.grad as its users write it."""


class Case(NamedTuple):
    """A model at one size; ``text`` means one long text, cut every T characters."""

    name: str
    type: str
    batch_size: int
    n_steps: int
    options: dict[str, Any]
    text: bool = False


CASES = [
    Case("bigram", "bigram", 32, 1000, {}),
    Case("mlp", "mlp", 32, 100, {}),
    Case("bow", "bow", 32, 200, {}),
    Case("rnn", "rnn", 32, 200, {}),
    Case("gru", "gru", 32, 100, {}),
    Case("lstm", "lstm", 32, 100, {}),
    Case("transformer", "transformer", 32, 20, {}),
    Case("wavenet", "wavenet", 32, 100, {}),
    Case("deep-mlp-bn", "deep-mlp-bn", 32, 200, {}),
    Case(
        "transformer, T 64, 4 layers, 128",
        *("transformer", 32, 4),
        {"block_size": 64, "n_layer": 4, "n_embd": 128},
        text=True,
    ),
    Case(
        "transformer, T 128, 6 layers, 384",
        *("transformer", 32, 1),
        {"block_size": 128, "n_layer": 6, "n_head": 6, "n_embd": 384},
        text=True,
    ),
    Case(
        "transformer, T 1024, 4 layers, 128",
        *("transformer", 4, 2),
        {"block_size": 1024, "n_layer": 4, "n_embd": 128},
        text=True,
    ),
]


def run(quick: bool) -> list[dict[str, Any]]:
    """Return a row for each contestant in each case."""
    rows: list[dict[str, Any]] = []
    for case in CASES:
        print(f"ladder, {case.name}", flush=True)
        task = task_of(case)
        with start(contestants_of(case)) as workers:
            results = race(workers, task, rounds=3 if quick else 7)
        # Few float32 steps are comparable: AdamW turns the sign of a gradient into a whole step.
        check_losses(results, steps=3, tolerance=2e-5)
        for name, result in results.items():
            rows.append(
                {
                    "model": case.name,
                    "batch_size": case.batch_size,
                    "contestant": name,
                    "us_per_step": 1e6 * result.median / task.n_steps,
                    "ratio": ratio(result, results["jaxmore"]),
                    "seconds_to_first_step": result.seconds_to_first_step,
                    "peak_mb": result.peak_bytes / 1e6,
                    "rounds_us": [1e6 * s / task.n_steps for s in result.seconds],
                }
            )
    return rows


def contestants_of(case: Case) -> dict[str, str]:
    """Return the contestants of this case, as {name: module}."""
    return CONTESTANTS | (WRITTEN_FOR_GRAD if case.type == "transformer" else {})


def task_of(case: Case) -> Task:
    """Build the task, with parameters and batches as ``jaxmore train`` draws them."""
    options = model_options(case.type) | case.options
    if MODELS[case.type].reads == "sequences" and "block_size" in options and not case.text:
        options["block_size"] = corpus().block_size
    if case.text:
        X, Y = _texts(options["block_size"])
    elif MODELS[case.type].reads == "windows":
        X, Y = corpus().windows(options["block_size"])
    else:
        X, Y = corpus().sequences()
    return make_task(
        case.type,
        options,
        corpus().vocab.size,
        X,
        Y,
        batch_size=case.batch_size,
        n_steps=case.n_steps,
        optimizer="adamw",
        learning_rate=5e-4,
    )


def _texts(block_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Join all names into one text, and cut it into pairs of inputs and targets of T characters."""
    ids = corpus().windows(1)[1]
    n = (len(ids) - 1) // block_size * block_size
    return ids[:n].reshape(-1, block_size), ids[1 : n + 1].reshape(-1, block_size)
