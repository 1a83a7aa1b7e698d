"""microgpt: µs an example at batch 1, as in the original, and at batch 32."""

from typing import Any

from benchmarks.data import corpus
from benchmarks.race import check_losses, race, ratio, start
from benchmarks.task import make_task
from jaxmore.models import model_options

CONTESTANTS = {
    "jaxmore": "jaxmore_scan",
    "jax.grad, same scan": "grad_scan",
    "NumPy by hand": "microgpt_numpy",
}
STEPS = {1: 2000, 32: 400}
"""Steps of a timed run at each batch size."""


def run(quick: bool) -> list[dict[str, Any]]:
    """Race the contestants at both batch sizes; a row for each."""
    X, Y = corpus().sequences()
    rows: list[dict[str, Any]] = []
    with start(CONTESTANTS) as workers:
        for batch_size, n_steps in STEPS.items():
            print(f"microgpt, batch {batch_size}", flush=True)
            sizes = {"batch_size": batch_size, "n_steps": n_steps}
            adam = {"optimizer": "adam", "learning_rate": 0.01}
            options = model_options("microgpt")
            task = make_task("microgpt", options, corpus().vocab.size, X, Y, **sizes, **adam)
            results = race(workers, task, rounds=3 if quick else 15)
            check_losses(results, tolerance=1e-4)
            rows += [
                {
                    "batch_size": batch_size,
                    "contestant": name,
                    "us_per_example": 1e6 * result.median / n_steps / batch_size,
                    "ratio": ratio(result, results["jaxmore"]),
                }
                for name, result in results.items()
            ]
    return rows
