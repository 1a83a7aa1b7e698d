"""``python -m benchmarks.mesh``: what the fixed tree of ``--mesh`` costs, on two simulated devices.

The four programs take turns, chunk by chunk, so that other work on the machine meets them all. The
table is that of docs/how-to/devices.md.
"""

import time
from statistics import median

import jax
import numpy as np

from jaxmore.models import MODELS
from jaxmore.training.loop import Devices, TrainState, train
from jaxmore.training.mesh import choose_devices, simulate_devices
from jaxmore.training.optimizers import make_optimizer

TYPES, BATCH_SIZES, ROUNDS = ("mlp-bn", "bengio"), (32, 1024), 9


def step_times(type: str, batch_size: int) -> dict[str, list[float]]:
    """Return the microseconds a step of each program, round by round."""
    model = MODELS[type].make(27)
    rng = np.random.default_rng(0)
    data = rng.integers(0, 27, (20_000, 3)), rng.integers(0, 27, 20_000)
    programs = {
        "without --mesh": Devices(),
        "tree, 1 device": choose_devices("data=1", batch_size, model),
        "tree, 2 devices": choose_devices("data=2", batch_size, model),
        "--no-deterministic, 2": choose_devices("data=2", batch_size, model, deterministic=False),
    }
    n_steps = 12_800 // batch_size + 50
    optimizer = make_optimizer("sgd", 0.1, 0.0, "constant", n_steps * (ROUNDS + 1))
    chunks = {}
    for name, devices in programs.items():
        params = model.init(jax.random.key(0))
        chunks[name] = train(
            model,
            optimizer,
            devices.begin(TrainState(params, optimizer.init(params))),
            *devices.place(data),
            devices.place(jax.random.key(1)),
            batch_size=batch_size,
            max_steps=n_steps * (ROUNDS + 1),
            chunk_size=n_steps,
            run_chunk=devices.run_chunk,
        )
        next(chunks[name])  # compiles
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(ROUNDS):
        for name, its in chunks.items():
            began = time.perf_counter()
            next(its)
            times[name].append((time.perf_counter() - began) / n_steps * 1e6)
    return times


def main() -> None:
    """Print the table in Markdown."""
    simulate_devices(2)
    print(f"jax {jax.__version__}")
    for type in TYPES:
        for batch_size in BATCH_SIZES:
            times = step_times(type, batch_size)
            *_, tree, plain = times.values()
            ratio = median(a / b for a, b in zip(tree, plain, strict=True))
            cells = (f"{median(its):,.0f}" for its in times.values())
            print(f"| {type} | {batch_size:,} | {' | '.join(cells)} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
