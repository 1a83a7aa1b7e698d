"""microgpt: µs an example at batch 1, as in the original, and at batch 32; the loss after seconds.

All contestants take the same steps: their losses are compared. So the loss after some seconds is
that of ``jaxmore train`` with as many steps as the contestant takes in them.
"""

from typing import Any

from benchmarks.data import corpus
from benchmarks.race import Worker, check_losses, race, ratio, start
from benchmarks.task import Task, make_task
from jaxmore import evaluate, fit
from jaxmore.data import corpus_path
from jaxmore.models import model_options

CONTESTANTS = {
    "jaxmore": "jaxmore_scan",
    "jax.grad, same scan": "grad_scan",
    "NumPy by hand": "microgpt_numpy",
    "C by hand": "microgpt_c",
    "scalar autograd, pure Python": "microgpt_scalar",
}
SCALAR = "scalar autograd, pure Python"
STEPS = {1: 2000, 32: 400}
"""Steps of a timed run at each batch size."""
SCALAR_STEPS = 4
"""Of scalar autograd, at batch 1 alone: it takes half a second a word."""
SECONDS = (1, 5)


def run(quick: bool) -> list[dict[str, Any]]:
    """Race the contestants at both batch sizes; a row for each."""
    rows: list[dict[str, Any]] = []
    with start(CONTESTANTS) as workers:
        scalar = workers.pop(SCALAR)
        for batch_size, n_steps in STEPS.items():
            print(f"microgpt, batch {batch_size}", flush=True)
            results = race(workers, _task(batch_size, n_steps), rounds=3 if quick else 15)
            check_losses(results, tolerance=1e-4)
            ours = results["jaxmore"].median / n_steps
            rows += [
                _row(name, batch_size, result.median / n_steps, ratio(result, results["jaxmore"]))
                for name, result in results.items()
            ]
            if batch_size == 1:
                seconds = _scalar_seconds(scalar, workers["jaxmore"])
                rows.append(_row(SCALAR, 1, seconds, seconds / ours))
    return rows


def _task(batch_size: int, n_steps: int) -> Task:
    return make_task(
        "microgpt",
        model_options("microgpt"),
        corpus().vocab.size,
        *corpus().sequences(),
        batch_size=batch_size,
        n_steps=n_steps,
        optimizer="adam",
        learning_rate=0.01,
    )


def _scalar_seconds(scalar: Worker, jaxmore: Worker) -> float:
    """Seconds a step."""
    workers = {"jaxmore": jaxmore, SCALAR: scalar}
    results = race(workers, _task(1, SCALAR_STEPS), rounds=3)
    check_losses(results, tolerance=1e-4)
    return results[SCALAR].median / SCALAR_STEPS


def _row(name: str, batch_size: int, seconds: float, ratio: float) -> dict[str, Any]:
    """A row of the results, from the seconds of a step."""
    return {
        "batch_size": batch_size,
        "contestant": name,
        "us_per_example": 1e6 * seconds / batch_size,
        "ratio": ratio,
        "losses": {s: _test_loss(max(1, int(s / seconds)), batch_size) for s in SECONDS},
    }


def _test_loss(n_steps: int, batch_size: int) -> float:
    path = corpus_path()
    trained = fit(path, "microgpt", max_steps=n_steps, batch_size=batch_size)
    return evaluate(trained, path)["test"]
