"""``python -m benchmarks.scaling``: a step on 1 to 4,096 devices, and what two cores show of it.

With ``accounts`` or ``measured`` it makes that half anew, with ``tables`` neither. It keeps
docs/scaling.json, and writes the tables of docs/scaling.md. The accounts are of programs that are
compiled for simulated devices and never run. The times are of programs on up to eight of them.
"""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from benchmarks.hlo import Account, account
from benchmarks.roofline import MACHINES, Row, crossover, model_axis, seconds
from benchmarks.tables import table
from jaxmore.models import MODELS
from jaxmore.training.loop import Devices, TrainState
from jaxmore.training.mesh import choose_devices, simulate_devices
from jaxmore.training.optimizers import make_optimizer
from jaxmore.training.parts import n_parts

DOCS = Path(__file__).parents[1] / "docs"
OPTIMIZER = make_optimizer("adamw", 1e-3, 0.0, "constant", 1000)
N_STEPS, ROUNDS = 7, 7
"""Steps in a chunk, where no other loop has as many rounds; and how often each is timed."""
NAMES = {"vocab_size": 27, "block_size": 16, "n_layer": 4, "n_head": 4, "n_embd": 64}
LARGE = {"vocab_size": 256, "block_size": 1024, "n_layer": 12, "n_head": 12, "n_embd": 768}
SIZES = (NAMES, 32), (LARGE, 8)
"""The transformers, and the examples of a share of the batch."""
ALL = 1, 8, 64, 512, 4096
DATA, BOTH, SHARDS = "data", "data, model", "data, shards of parameters"
TREE, TREE_SHARDS = "data, fixed tree", "data, fixed tree, shards"


class Case(NamedTuple):
    """A transformer on n devices."""

    layout: str
    n: int
    model: int = 1

    @property
    def shares(self) -> int:
        return self.n // self.model

    @property
    def in_a_tree(self) -> bool:
        return self.layout in (TREE, TREE_SHARDS)


ACCOUNTED = [
    *(Case(DATA, n) for n in ALL),
    *(Case(BOTH, n, 4) for n in ALL[1:]),
    *(Case(SHARDS, n) for n in ALL[1:]),
    *(Case(TREE, n) for n in (1, 8)),
    Case(TREE_SHARDS, 8),
]
MEASURED = [
    *(Case(DATA, n) for n in (1, 2, 4, 8)),
    Case(BOTH, 2, 2),
    Case(TREE, 2),
]


class Program:
    """A compiled chunk of the training loop, of :func:`jaxmore.training.loop.scan_steps`."""

    def __init__(
        self, case: Case, sizes: dict[str, int], batch_size: int, *, run: bool = False
    ) -> None:
        """Compile it, for arrays if it is to run, for their shapes if not."""
        self.case, self.batch_size = case, batch_size
        self.model = MODELS["transformer"].make(**sizes)
        devices = choose_devices(
            f"data={case.shares},model={case.model}",
            batch_size,
            self.model,
            deterministic=case.in_a_tree,
            shard_params=case.layout in (SHARDS, TREE_SHARDS),
        )
        arguments = self._arrays if run else self._shapes
        self.arguments = arguments(devices, sizes)
        chunk = cast("partial[Any]", devices.run_chunk)
        lowered = cast(Any, chunk.func).jitted.lower(
            *(*chunk.args, self.model, OPTIMIZER, *self.arguments),
            **(chunk.keywords | {"batch_size": batch_size, "n_steps": N_STEPS}),
        )
        # What is never run needs no fast machine code; fusions are the same.
        options = None if run else {"xla_backend_optimization_level": 0}
        self.compiled = lowered.compile(compiler_options=options)

    def _shapes(self, devices: Devices, sizes: dict[str, int]) -> tuple[Any, ...]:
        params = jax.eval_shape(self.model.init, jax.random.key(0))
        state = devices.add_shardings(TrainState(params, jax.eval_shape(OPTIMIZER.init, params)))
        mesh = jax.tree.leaves(state)[0].sharding.mesh
        tokens = jax.ShapeDtypeStruct((4096, sizes["block_size"]), jnp.int32)
        key, step = jax.eval_shape(lambda: (jax.random.key(0), jnp.int32(0)))
        others = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=NamedSharding(mesh, P())),
            (tokens, tokens, key, step),
        )
        return state, *others

    def _arrays(self, devices: Devices, sizes: dict[str, int]) -> tuple[Any, ...]:
        params = self.model.init(jax.random.key(0))
        state = devices.begin(TrainState(params, OPTIMIZER.init(params)))
        rng = np.random.default_rng(0)
        tokens = rng.integers(0, sizes["vocab_size"], (4096, sizes["block_size"]))
        return state, *devices.place((tokens, tokens, jax.random.key(1), np.int32(0)))

    def account(self) -> Account:
        """Account for a step of it."""
        rounds = n_parts(self.batch_size) // self.case.n if self.case.in_a_tree else 1
        return account(self.compiled.as_text(), N_STEPS, rounds)

    def step_time(self) -> float:
        """Run the chunk once; return the seconds of a step."""
        began = time.perf_counter()
        state, *_ = jax.block_until_ready(self.compiled(*self.arguments))
        self.arguments = state, *self.arguments[1:]
        return (time.perf_counter() - began) / N_STEPS


def accounts() -> list[Row]:
    """Account for a step of each transformer in each layout."""
    # A process has up to 2,048 simulated devices, unless it could have peers.
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    simulate_devices(max(ALL))
    jax.distributed.initialize(f"localhost:{port}", 1, 0)
    rows: list[Row] = []
    for sizes, share in SIZES:
        for case in ACCOUNTED:
            began = time.perf_counter()
            found = Program(case, sizes, share * case.shares).account()
            print(case, found, f"{time.perf_counter() - began:.0f} s", flush=True)
            rows.append(
                {
                    "size": sizes,
                    **case._asdict(),
                    "tokens": share * sizes["block_size"],
                    **found._asdict(),
                    "collectives": [
                        [*collective, count, found.sizes[collective]]
                        for collective, count in found.counts.items()
                    ],
                }
            )
            del rows[-1]["counts"], rows[-1]["sizes"]
    return rows


def measured() -> list[Row]:
    """Time a block of the small transformer, weakly and strongly scaled, in turns."""
    simulate_devices(max(case.n for case in MEASURED))
    sizes, share = NAMES | {"n_layer": 1}, SIZES[0][1]
    largest = share * max(case.n for case in MEASURED)
    batches = [
        (scaling, case, batch_size)
        for case in MEASURED
        for scaling, batch_size in (("weak", share * case.n), ("strong", largest))
    ]
    programs = {
        (case, batch_size): Program(case, sizes, batch_size, run=True)
        for _, case, batch_size in dict.fromkeys(batches)
    }
    print(f"compiled {len(programs)} programs", flush=True)
    sends = {case.n: send_times(case.n) for case in MEASURED if case.n > 1}
    times: dict[Any, list[float]] = {at: [] for at in programs}
    for i in range(ROUNDS + 1):
        for at, program in programs.items():
            took = program.step_time()
            if i:  # the first warms up
                times[at].append(took)
    rows: list[Row] = []
    for scaling, case, batch_size in batches:
        alone = Case(DATA, 1), share if scaling == "weak" else largest
        mine, base = times[case, batch_size], times[alone]
        found, one = programs[case, batch_size].account(), programs[alone].account()
        # All devices share the cores: their work adds up, and so do their messages.
        sending = 0.0
        for collective, count in found.counts.items():
            start, a_byte = sends[case.n]
            sending += count * start + a_byte * found.sizes[collective]
        rows.append(
            {
                "scaling": scaling,
                **case._asdict(),
                "ms": median(mine) * 1e3,
                "ratio": median(a / b for a, b in zip(mine, base, strict=True)),
                "predicted": case.n * found.flops / one.flops + sending / median(base),
            }
        )
    return rows


def send_times(n: int) -> tuple[float, float]:
    """Time all-reduces among n devices: the seconds of the smallest one, and of a further byte."""
    mesh, sizes = jax.make_mesh((n,), ("i",)), (1, 1 << 18)

    def sums(x: jax.Array) -> jax.Array:
        return lax.fori_loop(0, 20, lambda _, x: lax.psum(x, "i") / n, x)

    each = jax.jit(jax.shard_map(sums, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False))
    found: list[float] = []
    for size in sizes:
        x = jax.device_put(jnp.ones(size), NamedSharding(mesh, P()))
        times: list[float] = []
        for _ in range(9):
            began = time.perf_counter()
            each(x).block_until_ready()
            times.append((time.perf_counter() - began) / 20)
        found.append(median(times))
    return found[0], max(0.0, found[1] - found[0]) / (4 * (sizes[1] - sizes[0]))


def _named(size: dict[str, int]) -> str:
    return f"T {size['block_size']:,}, L {size['n_layer']}, D {size['n_embd']}"


def _digits(x: float, n: int = 3) -> str:
    return f"{float(f'{x:.{n}g}'):,g}"


def _collectives(row: Row) -> str:
    found = [
        f"{count} {kind} among {n:,}: {_digits(size / 1e6)} MB"
        for kind, n, count, size in sorted(row["collectives"], key=lambda its: -its[3])
        if n > 1 and size > 1000
    ]
    return ", ".join(found) or "none"


def tables(results: dict[str, Any]) -> list[str]:
    """Return the tables of the page in Markdown."""
    rows: list[Row] = results["accounts"]
    cost = [
        [
            *(_named(row["size"]), row["layout"], f"{row['n']:,}", _digits(row["flops"] / 1e9)),
            *(_digits(row["bytes"] / 1e9), _collectives(row)),
        ]
        for row in rows
    ]
    constants = [
        [
            *(m.name, f"{m.flops / 1e12:,.0f} TFLOP/s", f"{m.hbm / 1e12:.3g} TB/s"),
            f"{m.axes} × {m.link / 1e9:,.0f} GB/s, {m.domain:,} devices",
            *(f"{m.network / 1e9:.4g} GB/s", m.source),
        ]
        for m in MACHINES
    ]
    model: list[list[str]] = []
    for row in (
        row for row in rows if row["n"] > 1 and (row["size"] == LARGE or row["layout"] == DATA)
    ):
        cells = [_named(row["size"]), row["layout"], f"{row['n']:,}"]
        for machine in MACHINES:
            products, memory, *sent = (1e3 * s for s in seconds(machine, row))
            tokens = crossover(machine, row)
            cells.append(", ".join(_digits(ms, 2) for ms in (products, memory, sum(sent))))
            cells.append(f"{tokens:,.0f}" if tokens < 1e9 else "never")
        model.append(cells)
    axis = [
        [
            *(m.name, f"{model_axis(m, LARGE['n_embd']):.2f}"),
            f"{7 / (model_axis(m, 1) - 1):,.0f}",
        ]
        for m in MACHINES
    ]
    ran = {(row["scaling"], row["layout"], row["n"]): row for row in results["measured"]}
    times: list[list[str]] = []
    for layout, n in dict.fromkeys((layout, n) for _, layout, n in ran):
        cells = [layout, str(n)]
        for scaling in ("weak", "strong"):
            row = ran[scaling, layout, n]
            cells += (f"{row['ms']:.1f}", f"{row['ratio']:.2f}", f"{row['predicted']:.2f}")
        times.append(cells)
    heads: list[Sequence[str]] = [
        ["transformer", "layout", "devices", "GFLOP", "GB", "collectives"],
        ["device", "products", "memory", "links of an axis", "to other domains", "source"],
        [
            *("transformer", "layout", "devices"),
            *(s for m in MACHINES for s in (f"{m.name}: ms", "tokens")),
        ],
        ["device", "M at D 768", "D for M 8"],
        [
            *("layout", "devices", "weak: ms", "ratio", "predicted"),
            *("strong: ms", "ratio", "predicted"),
        ],
    ]
    return [table(h, r) for h, r in zip(heads, (cost, constants, model, axis, times), strict=True)]


def main(halves: Sequence[str]) -> None:
    """Make the halves of docs/scaling.json that are named, and the tables of docs/scaling.md."""
    path = DOCS / "scaling.json"
    makers = {"accounts": accounts, "measured": measured, "tables": None}
    if unknown := {*halves} - makers.keys():
        raise SystemExit(f"{', '.join(unknown)}: not one of {', '.join(makers)}")
    for half in halves:
        if make := makers[half]:
            made = {half: make()}
            results = json.loads(path.read_text("utf-8")) if path.exists() else {}
            path.write_text(json.dumps(results | made, indent=1) + "\n", encoding="utf-8")
    results = json.loads(path.read_text("utf-8"))
    if {"accounts", "measured"} <= results.keys():
        write_tables(results)


def write_tables(results: dict[str, Any]) -> None:
    """Replace the tables of docs/scaling.md that have the same heads."""
    page = (DOCS / "scaling.md").read_text("utf-8")
    for new in tables(results):
        head = re.escape(new.partition("\n")[0])
        page, n = re.subn(f"^{head}\n(\\|.*\n)*", lambda _, new=new: new, page, flags=re.M)
        if n != 1:
            raise AssertionError(f"docs/scaling.md has {n} tables {head!r}")
    (DOCS / "scaling.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:]:
        main(sys.argv[1:])
    else:  # in processes of their own: their numbers of devices differ
        for half in ("accounts", "measured"):
            subprocess.run([sys.executable, "-m", "benchmarks.scaling", half], check=True)
