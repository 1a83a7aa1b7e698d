"""The memory of a gradient and of a rule, from compiling or tracing alone."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.account import gradient_account
from benchmarks.ladder import CASES, contestants_of, task_of
from jaxmore import rules
from jaxmore.testing.arguments import parse_args
from jaxmore.testing.oracles import count_bytes, kept_bytes
from jaxmore.testing.shipped import FAMILIES


def run(quick: bool) -> list[dict[str, Any]]:
    """Return a row for each compiled contestant in each case, then a row for each rule."""
    del quick  # this section is always quick
    rows: list[dict[str, Any]] = []
    for case in CASES:
        print(f"memory, {case.name}", flush=True)
        task = task_of(case)
        for name, module in contestants_of(case).items():
            if account := gradient_account(module, task):
                rows.append({"model": case.name, "contestant": name} | account._asdict())
    return rows + [residuals_of(name) for name in FAMILIES]


def residuals_of(name: str) -> dict[str, Any]:
    """Return the bytes that a rule and ``jax.vjp`` keep, for generic float32 arguments."""
    family = FAMILIES[name][0]
    args = [jax.tree.map(jnp.asarray, arg) for arg in parse_args(family.arguments)]
    places = [i for i, a in enumerate(args) if jnp.issubdtype(a.dtype, jnp.floating)]

    def of_floats(function: Any, *floats: Any) -> Any:
        full = dict(enumerate(args)) | dict(zip(places, floats, strict=True))
        return function(*full.values(), **family.options)

    op, fwd = (partial(of_floats, getattr(rules, name + end)) for end in ("", "_fwd"))
    floats = [args[i].astype("float32") for i in places]
    return {
        "rule": name,
        "arguments": family.arguments,
        "residual_bytes": count_bytes(lambda *f: fwd(*f)[1], floats),
        "autodiff_bytes": kept_bytes(op, floats),
    }
