"""Training of the seeds' network at four batch sizes: steps per second, first step, memory."""

from typing import Any

from benchmarks.account import gradient_account
from benchmarks.contestants.plain_c import time_products
from benchmarks.data import corpus
from benchmarks.race import check_losses, race, ratio, start
from benchmarks.task import make_task

CONTESTANTS = {
    "jaxmore": "jaxmore_scan",
    "jax.grad, same scan": "grad_scan",
    "Python loop of one jitted step": "jitted_step",
    "jax.nn + jax.grad + optax, Python loop": "optax_loop",
    "PyTorch, autograd": "torch_autograd",
    "PyTorch, manual backward": "torch_manual",
    "torch.compile": "torch_compiled",
    "torch.compile, 10 steps unrolled": "torch_unrolled",
    "NumPy by hand": "numpy_by_hand",
    "C by hand": "plain_c",
}
STEPS = {32: 1000, 256: 250, 2048: 50, 8192: 20}
"""Steps of a timed run at each batch size: long enough to measure, short enough to take turns."""
SMALL = {"torch.compile, 10 steps unrolled": 256}
"""The largest batch of those that save what a larger one does not spend."""


def run(quick: bool) -> list[dict[str, Any]]:
    """Race the contestants at every batch size; return a row for each."""
    X, Y = corpus().windows(3)
    rows: list[dict[str, Any]] = []
    with start(CONTESTANTS) as workers:
        for batch_size, n_steps in STEPS.items():
            print(f"training, batch {batch_size:,}", flush=True)
            task = make_task(
                "mlp-bn", {}, corpus().vocab.size, X, Y, batch_size=batch_size, n_steps=n_steps
            )
            runners = {n: w for n, w in workers.items() if SMALL.get(n, batch_size) >= batch_size}
            results = race(runners, task, rounds=5 if quick else 15)
            check_losses(results)
            for name, result in results.items():
                step = result.median / n_steps
                account = gradient_account(CONTESTANTS[name], task)
                rows.append(
                    {
                        "batch_size": batch_size,
                        "contestant": name,
                        "us_per_step": 1e6 * step,
                        "steps_per_second": 1 / step,
                        "ratio": ratio(result, results["jaxmore"]),
                        "seconds_to_first_step": result.seconds_to_first_step,
                        "peak_mb": result.peak_bytes / 1e6,
                        "flops": account and account.flops,
                        "product_flops": account and account.product_flops,
                        "temporary_bytes": account and account.temporary_bytes,
                        "rounds_us": [1e6 * s / n_steps for s in result.seconds],
                    }
                )
                if name == "C by hand":
                    rows[-1]["products_us"] = 1e6 * time_products(task)
    return rows
