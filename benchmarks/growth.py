"""How the time of a training step grows with batch, hidden layer, context, layers and T."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.account import gradient_account
from benchmarks.ladder import Case, task_of
from benchmarks.race import race, start

TOKENS = 2048
"""Of a batch where T grows, so that the batch's other work stays as it is."""


class Axis(NamedTuple):
    """One dimension that grows: its values, and the case for each value."""

    name: str
    values: Sequence[int]
    case: Callable[[int], Case]


def seeds(n_steps: int, batch_size: int = 32, **options: int) -> Case:
    """Return the seeds' network with one dimension changed."""
    return Case("", "mlp-bn", batch_size, max(20, n_steps), options)


AXES = [
    Axis("batch", (8, 32, 128, 512, 2048, 8192), lambda n: seeds(50_000 // n, n)),
    Axis("hidden", (25, 100, 400, 1600, 6400), lambda n: seeds(200_000 // n, n_embd2=n)),
    Axis("context", (1, 2, 4, 8, 16, 32), lambda n: seeds(1000, block_size=n)),
    Axis(
        "layers",
        (1, 2, 4, 8, 16),
        lambda n: Case("", "transformer", 32, max(2, 40 // n), {"n_layer": n}),
    ),
    Axis(
        "T",
        (16, 64, 256, 1024, 2048),
        lambda n: Case(
            "", "transformer", TOKENS // n, 4, {"block_size": n, "n_layer": 2}, text=True
        ),
    ),
]
"""The first three of the seeds' network at batch 32, the others of makemore.py's transformer."""


def run(quick: bool) -> list[dict[str, Any]]:
    """Return a row for each value of each axis."""
    rows: list[dict[str, Any]] = []
    for axis in AXES:
        print(f"growth, {axis.name}", flush=True)
        for value in axis.values:
            case = axis.case(value)
            task = task_of(case)
            with start({"jaxmore": "jaxmore_scan"}) as workers:
                result = race(workers, task, rounds=3 if quick else 9)["jaxmore"]
            account = gradient_account("jaxmore_scan", task)
            assert account is not None
            examples = task.n_steps * case.batch_size
            rows.append(
                {
                    "axis": axis.name,
                    "model": case.type,
                    "value": value,
                    "batch_size": case.batch_size,
                    "us_per_example": 1e6 * result.median / examples,
                    "product_flops_per_example": account.product_flops / case.batch_size,
                    "rounds_us": [1e6 * s / examples for s in result.seconds],
                }
            )
    return rows


def by_axis(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Group the rows by axis."""
    return {axis.name: [row for row in rows if row["axis"] == axis.name] for axis in AXES}


def slope(rows: Sequence[dict[str, Any]]) -> float:
    """Return the exponent of the growth of the time per example, over the last three values."""
    values, times = ([row[name] for row in rows[-3:]] for name in ("value", "us_per_example"))
    return float(np.polyfit(np.log(values), np.log(times), 1)[0])
