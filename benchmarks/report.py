"""Writes docs/benchmarks.md: the results as tables, and how to read them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from benchmarks import tables
from benchmarks.columns import Section, code_digest, column

HEAD = """# Benchmarks

Written by `make bench` (`python -m benchmarks`), with [benchmarks.json](benchmarks.json) beside it.

All contestants do the same work on the same names in the same batches. Each is written in the
fastest fair form that we know, in one short file in
[benchmarks/contestants](../benchmarks/contestants). The contestants take turns in shuffled rounds,
each in its own process. No time of a training race is kept unless the first losses of all
contestants agree: ten to 1e-5, of microgpt ten to 1e-4, of the other models three to 2e-5. Times
are medians over the rounds. A ratio is the median of the ratios within a round, so a slow moment of
the machine affects both sides. The peers receive the batches that jaxmore draws; only the times of
jaxmore and of jax.grad in the same scan include drawing them.

"To first step" is the time from the start of the process to the first step: imports, set-up and
compilation. Memory is the peak of the process, including imports and data.

The (×…) behind a figure is its ratio to jaxmore's (×2: twice jaxmore's), unless a table says
otherwise.

A section may have several columns, one for each jax, vector width and number of cores that it was
measured with. Below its tables, a line for each column says what it was measured on, and whether
the code has changed since. Contestants race within a column; times of two columns can be compared
only if their lines name the same processor and nearly the same ceiling. An empty cell was not
measured. "AVX2" on a processor with AVX-512 limits the code that XLA compiles, NumPy, PyTorch and
C; XLA's library of matrix products does not obey it, which favours jaxmore and jax.grad at large
batches. All of it is on CPUs: `make bench-gpu` is ready for a GPU, but has not been run on one yet.
"""


class Chapter(NamedTuple):
    """What the page says of one section."""

    title: str
    introduction: str
    tables: Callable[[Sequence[Section]], Iterable[str]]


PAGE = {
    "training": Chapter(
        "Training the seeds' network",
        "12,297 parameters, hidden layer 200, SGD.\n",
        tables.training,
    ),
    "evaluation": Chapter(
        "Evaluating every training window",
        """The mean loss of the trained network of the notebooks. Every result equals NumPy's
in float64 to 1e-6. jaxmore's time includes counting the distinct contexts; PyTorch receives the
counts.
""",
        tables.evaluation,
    ),
    "sampling": Chapter(
        "Sampling 10,000 names",
        "From the trained network of the notebooks to a list of strings.\n",
        tables.sampling,
    ),
    "startup": Chapter(
        "Start-up",
        "Whole processes, timed from the outside.\n",
        tables.startup,
    ),
    "ladder": Chapter(
        "The other models",
        """makemore.py's defaults (AdamW, width 64, batch 32, four layers and heads), then larger
transformers on one long text (batch 32, or 4 at T 1024). "Plain attention" is a transformer as JAX
users write it, and up to T 128 the faster jax.grad: autodiff saves what jaxmore's blocks of
attention recompute. At T 1024 the blocks leave out what lies above the diagonal, and "same scan" is
the faster. The ratios of plain attention are of the transformers alone.
""",
        tables.ladder,
    ),
    "microgpt": Chapter(
        "microgpt",
        """4,192 parameters, Adam, float32. The original is scalar autograd in pure Python, a word a
step. C runs on one core and skips what pads a word to 16 places. The losses are test losses after
some seconds of training, compilation apart, with a learning rate that goes down to zero at their
end. All take the same steps, so a loss is that of `jaxmore train` with as many steps as the
contestant takes in the time.
""",
        tables.microgpt,
    ),
    "memory": Chapter(
        "Memory",
        """One gradient of each model above, compiled but not run. The compiler reports temporary
memory and FLOPs (`memory_analysis`, `cost_analysis`) and counts the body of a loop once. The
third table therefore gives the FLOPs of the matrix products alone, with every iteration of a loop.
""",
        tables.memory,
    ),
    "growth": Chapter(
        "Growth",
        """The time of a training step per example, while one size grows. The slope is the exponent
over the last three values: 0 means that the time does not change, 1 that it doubles with the size.
The share is the speed of the step's matrix products over the machine's ceiling. A large share means
that matrix products bound the step. Where it is small, something else does: first the fixed cost of
a step, which a larger batch spreads over more examples, later the memory traffic. The figure shows
the column that was measured last.

![Time per example against each](images/growth.png)
""",
        tables.growth,
    ),
    "forms": Chapter(
        "Forms that XLA makes fast",
        """Each form that jaxmore chose, beside the plain form that computes the same numbers, both
compiled by XLA for the CPU. XLA does not vectorise a maximum that propagates NaN. A matrix product
is slow if the last axis of its result is the shortest. A sum is computed column by column if an
expensive function is fused into it. XLA computes 15 exponentials one by one, but 16 at once.
"jax.grad, same scan" has the same forward function, hence also the maximum and the 16 rows;
autodiff gives its backward function the plain product and the plain sum.
""",
        tables.forms,
    ),
    "speedrun": Chapter(
        "The speedrun",
        """The time from random weights to the best dev loss of notebook 001, 2.1103, with its
network and its data. The clock starts when the words are in memory and stops at the exact dev loss;
it includes compilation. The record and its baseline take turns, each time from new random weights.
[speedrun.md](speedrun.md) is the leaderboard.
""",
        tables.records,
    ),
    "budget": Chapter(
        "The smallest dev loss in a minute, and in ten",
        """Any model with gradients derived by hand, on the notebooks' split, timed like the
speedrun. [speedrun.md](speedrun.md) is the leaderboard.
""",
        tables.records,
    ),
}
"""The sections, in the order of the page."""


def write_report(sections: dict[str, list[Section]]) -> str:
    """Return the page; ``sections`` is as in benchmarks.json."""
    parts = [HEAD, "![Steps a second](images/benchmarks.png)\n"]
    code = code_digest()
    for name, columns in sections.items():
        title, introduction, tables_of = PAGE[name]
        parts += [f"## {title}\n", introduction, *tables_of(columns)]
        parts += [_measured(section["machine"], code) for section in columns]
    return "\n".join(parts)


def _measured(machine: dict[str, Any], code: str) -> str:
    """Say what a column was measured on, and when."""
    older = "" if machine["code"] == code else " Measured on an earlier version of the code."
    versions = ", ".join(
        f"{name} {v}" for name, v in machine["versions"].items() if v and name != "jax"
    )
    return (
        f"- {column(machine)}: {machine['date']}, {machine['rounds']}; {machine['cpu']}, "
        f"{machine['memory_gb']} GB, load {machine['load_before']} before; "
        f"device {machine['device']}, matrix products in {machine['matmul_precision']}, ceiling "
        f"{machine['matmul_ceiling_gflops']} GFLOPS; Python {machine['python']}, "
        f"{versions}.{older}\n"
    )
