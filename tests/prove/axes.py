"""The axes of the rules that ship, and what carries a proof to all sizes of them."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxmore.prove.rule import Proof, prove_rule
from tests.prove.sizes import Axis, argue
from tests.prove.transposes import LINEAR, check_shipped

_CELL, _SIZES = "f[B,E] f[B,H]", {"B": 1, "E": 3, "H": 2}
_LINEAR, _NORM, _QKV = "f[B,I] f[I,O] f[O]", "f[B,E] f[E] f[E]", "f[B,T,D] f[B,T,D] f[B,T,D]"
ROWS = Axis("softmax_cross_entropy", "f[B,V] i[B]<V", "B", {"V": 3})
CLASSES = Axis("softmax_cross_entropy", "f[B,V] i[B]<V", "V", {"B": 1})
AXES = [
    Axis("batch_norm", _NORM, "E", {"B": 3}),
    Axis("batch_norm", _NORM, "B", {"E": 1}, least=2),
    Axis("causal_attention", _QKV, "B", {"T": 2, "D": 3}),
    Axis("causal_attention", _QKV, "D", {"B": 1, "T": 2}),
    Axis("causal_mean", "f[B,T,E]", "B", {"T": 2, "E": 3}),
    Axis("causal_mean", "f[B,T,E]", "E", {"B": 3, "T": 2}),
    *(Axis("gru_cell", _CELL + 3 * " f[E+H,H] f[H]", axis, _SIZES) for axis in "BE"),
    Axis("l2_penalty", "f[N]", "N", {}, {"scale": 0.7}),
    Axis("layer_norm", _NORM, "B", {"E": 3}),
    Axis("layer_norm", _NORM, "E", {"B": 1}),
    *(Axis("linear", _LINEAR, axis, {"B": 2, "I": 3, "O": 4}) for axis in "BIO"),
    # With O < min(B, I) it is another program.
    *(Axis("linear", _LINEAR, axis, {"B": 3, "I": 4, "O": 2}) for axis in "BI"),
    Axis("linear", _LINEAR, "O", {"B": 71, "I": 73}),
    *(Axis("lstm_cell", f"{_CELL} f[B,H] f[E+H,L] f[L]", a, {**_SIZES, "L": 8}) for a in "BE"),
    Axis("rms_norm", "f[B,E] f[E]", "B", {"E": 3}),
    Axis("rms_norm", "f[B,E] f[E]", "E", {"B": 1}),
    *(Axis("rnn_cell", f"{_CELL} f[E+H,H] f[H]", axis, _SIZES) for axis in "BE"),
    Axis("softmax", "f[B,V]", "B", {"V": 3}),
    Axis("softmax", "f[B,V]", "V", {"B": 1}),
    ROWS,
    CLASSES,
]

NO_ARGUMENT = {"causal_attention": "T", "gru_cell": "H", "lstm_cell": "H", "rnn_cell": "H"}
"""Axes without an argument: the proof holds at the sizes that were tried."""


def proofs(axis: Axis, sizes: range) -> Iterator[Proof]:
    """Prove a rule at the sizes that an argument needs."""
    op, fwd, bwd = axis.functions()
    for n, args in _arguments(axis, sizes):
        yield prove_rule(fwd, bwd, *args, op=op, n_points=1, name=f"{axis.rule}, {axis.axis} = {n}")


def _arguments(axis: Axis, sizes: range) -> Iterator[tuple[int, Any]]:
    """Yield each size with arguments; for cross-entropy, with each kind of row."""
    for n in sizes:
        if axis == ROWS:
            yield from ((n, args) for args in _kinds_of_rows(n, ROWS.others["V"]))
        elif axis == CLASSES:  # 1/n depends on the rows, so at each number of rows
            for n_rows in argue(ROWS).sizes:
                yield from ((n, args) for args in _kinds_of_rows(n_rows, n))
        else:
            yield n, axis.arguments_at(n)


def _kinds_of_rows(n_rows: int, n_classes: int) -> Iterator[Any]:
    """Yield rows whose target is the largest logit, then another; an ignored row comes on top."""
    for other in (0, 1):
        logits = np.random.default_rng(0).normal(size=(n_rows + 1, n_classes))
        targets = (np.argmax(logits, -1) + other) % n_classes
        yield logits, np.append(targets[:-1], -1)


def all_sizes(rule: str) -> str:
    """Say for which axes of a rule a proof holds at all sizes, and at which sizes it was proved."""
    found = dict[str, str]()
    for axis in (axis for axis in AXES if axis.rule == rule):
        kind, sizes = argue(axis)
        if not all(proof.passed for proof in proofs(axis, sizes)):
            raise AssertionError(f"{axis} is not proved at {sizes}")
        found[axis.axis] = axis.axis + f" ({sizes[0]} to {sizes[-1]})" * (kind == "symmetric")
    if rule in LINEAR:
        check_shipped(rule)
        return "every shape: the transposes"
    if rule in NO_ARGUMENT:
        found["none"] = f"not {NO_ARGUMENT[rule]} (the others at {NO_ARGUMENT[rule]} = 2)"
    return ", ".join(found.values())
