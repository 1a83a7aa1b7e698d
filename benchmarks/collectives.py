"""``python -m benchmarks.collectives``: the collectives of each rule, counted in compiled programs.

The table is that of docs/rules/collectives.md. It is made on two simulated devices.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxmore import rules
from jaxmore.layers import (
    BatchNorm,
    CausalSelfAttention,
    Embedding,
    Gelu,
    Layer,
    LayerNorm,
    Linear,
    RmsNorm,
    RnnCell,
    ScanTime,
)
from jaxmore.rules._recompute import without_recomputing
from jaxmore.training.mesh import simulate_devices
from jaxmore.training.sharding import GroupedHeads

COLLECTIVE = r" (all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
SIZES = {"B": 4, "T": 8, "E": 8, "3E": 24, "H": 16, "V": 7}


class CrossEntropy(Layer):
    """The loss of a batch, whose targets are zeros."""

    def fwd(self, params: Any, x: jax.Array, key: jax.Array | None = None) -> tuple[Any, Any]:
        return rules.softmax_cross_entropy_fwd(x, jnp.zeros(len(x), int))

    def bwd(self, params: Any, res: Any, dy: jax.Array) -> tuple[Any, jax.Array]:
        return {}, rules.softmax_cross_entropy_bwd(res, dy)[0]


@dataclass(frozen=True)
class Case:
    """A rule in a layout; an axis that is written B/data is sharded over data."""

    rule: str
    layer: Layer
    x: str
    y: str
    params: dict[str, str] = field(default_factory=dict)
    gathers: bool = False
    """Whether the parameters are gathered before they are used."""


B = "B/data T E"
CASES = (
    Case("linear", Linear(8, 16), B, "B/data T H", {"weight": "E H", "bias": "H"}),
    Case(
        "linear, --shard-params",
        Linear(8, 16),
        B,
        "B/data T H",
        {"weight": "E/data H", "bias": "H/data"},
        gathers=True,
    ),
    Case("embedding", Embedding(7, 8), "B/data T", B, {"weight": "V E"}),
    Case("layer_norm", LayerNorm(8), B, B, {"gain": "E", "bias": "E"}),
    Case("rms_norm", RmsNorm(), B, B),
    Case("batch_norm", BatchNorm(8), "B/data E", "B/data E", {"gain": "E", "bias": "E"}),
    Case(
        "rnn_cell, T times",
        ScanTime(RnnCell(8, 16)),
        B,
        "B/data T H",
        {"start": "1 H", "weight": "E+H H", "bias": "H"},
    ),
    Case("softmax_cross_entropy", CrossEntropy(), "B/data V", ""),
    Case(
        "linear, by columns",
        Linear(8, 16),
        "B T E",
        "B T H/model",
        {"weight": "E H/model", "bias": "H/model"},
    ),
    Case("gelu, relu, tanh", Gelu(approximate=True), "B T H/model", "B T H/model"),
    Case("causal_attention, by heads", GroupedHeads(8, 4, 8, 2), "B T 3E/model", "B T E/model"),
    Case(
        "linear, by rows",
        Linear(16, 8),
        "B T H/model",
        "B T E",
        {"weight": "H/model E", "bias": "E"},
    ),
    Case(
        "causal_attention, q\\|k\\|v of all heads",
        CausalSelfAttention(8, 4, 8),
        "B T 3E/model",
        "B T E/model",
    ),
)


def collectives(case: Case) -> tuple[str, str]:
    """Count the collectives that XLA places in the forward and in the backward pass."""
    axes = "model" if "/model" in case.x + case.y else "data"
    mesh = Mesh(np.array(jax.devices()[:2]), (axes,))

    def placed(letters: str, *, whole: bool = False) -> NamedSharding:
        names = [None if whole else (a.partition("/")[2] or None) for a in letters.split()]
        return NamedSharding(mesh, P(*names))

    def of_params(params: Any, *, whole: bool = False) -> Any:
        return jax.tree.map_with_path(
            lambda path, _: placed(case.params[path[-1].key], whole=whole), params
        )

    def constrain(params: Any, *, whole: bool) -> Any:
        return lax.with_sharding_constraint(params, of_params(params, whole=whole))

    def forward(params: Any, x: jax.Array) -> Any:
        return case.layer.fwd(constrain(params, whole=case.gathers), x)

    def backward(params: Any, res: Any, dy: jax.Array) -> Any:
        with without_recomputing():
            dparams, dx = case.layer.bwd(constrain(params, whole=case.gathers), res, dy)
        return constrain(constrain(dparams, whole=case.gathers), whole=False), dx

    shape = [SIZES[a.partition("/")[0]] for a in case.x.split()]
    params = jax.eval_shape(case.layer.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct(shape, jnp.int32 if case.rule == "embedding" else jnp.float32)
    of_y, of_x = placed(case.y), None if case.rule == "embedding" else placed(case.x)
    run = (
        jax.jit(
            forward, in_shardings=(of_params(params), placed(case.x)), out_shardings=(of_y, None)
        )
        .lower(params, x)
        .compile()
    )
    y, res = jax.eval_shape(forward, params, x)
    back = (
        jax.jit(
            backward,
            in_shardings=(of_params(params), run.output_shardings[1], of_y),
            out_shardings=(of_params(params), of_x),
        )
        .lower(params, res, y)
        .compile()
    )
    return _count(run.as_text()), _count(back.as_text())


def _count(program: str) -> str:
    loops, _, main = program.partition("\nENTRY ")
    counts = []
    for part, where in ((main, ""), (loops, " in the loop")):
        found = Counter(re.findall(COLLECTIVE, part))
        counts += [f"{n} {kind}{where}" for kind, n in sorted(found.items())]
    return ", ".join(counts) or "none"


def table() -> str:
    """Return the table in Markdown."""
    rows = ["| rule | x | parameters | y | forward | backward |", "|---|---|---|---|---|---|"]
    for case in CASES:
        params = ", ".join(f"{name} ({axes})" for name, axes in case.params.items()) or "none"
        y = f"({case.y})" if case.y else "()"
        cells = case.rule, f"({case.x})", params, y, *collectives(case)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    simulate_devices(2)
    print(table())
