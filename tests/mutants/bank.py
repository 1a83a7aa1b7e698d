"""Generate jaxmore/ninja/bank/network.json: ``python -m tests.mutants.bank``.

For each blank of the exercise: its right line with one node of the syntax tree changed, as ``make
mutants`` changes them, or one name confused with another of the same shape. A line is kept if its
value is wrong and unlike that of every line before it; with it goes what one does who writes it.
"""

import ast
import copy
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmore.ninja import bank, stepwise
from jaxmore.ninja.bank.matching import SAME, distance_between
from jaxmore.ninja.bank.network import MISCONCEPTIONS, RIGHT
from jaxmore.ninja.bank.values import value_of
from jaxmore.ninja.blanks import from_those_above
from jaxmore.ninja.comparison import autodiff_cotangents
from jaxmore.ninja.example_batch import batch
from tests.mutants.mutate import places, replacements

FILE = Path(bank.__file__).parent / "network.json"
APART = 5 * SAME
"""How far two lines must be apart, or from the right one, to be told apart by a value."""

FORMS = {
    "logits_fast": "(jax.nn.softmax(logits) - jax.nn.one_hot(Y, logits.shape[1])) * (1 / n)",
    "hprebn_fast": "bngain * bnvar_inv / n * (n * dhpreact - dhpreact.sum(0)"
    " - n / (n - 1) * bnraw * (dhpreact * bnraw).sum(0))",
}
"""Another right line: the lecture's."""

FORWARD = (*stepwise.Parameters._fields, *stepwise.Intermediates._fields)


@cache
def numbers() -> dict[str, tuple[dict[str, Any], np.ndarray]]:
    """For each blank, as the grader has them: what its line may read, and the right value."""
    with jax.enable_x64(True):
        inputs = batch()
        params = stepwise.Parameters(*inputs[:7])
        values = stepwise.forward(params, inputs.X, inputs.Y)
        of_params, of_values = autodiff_cotangents(params, inputs.X, inputs.Y)
        true = of_params._asdict() | of_values._asdict()
        rng = np.random.default_rng(0)
        other = {name: jnp.array(rng.normal(size=d.shape)) for name, d in true.items()}
        from_above = from_those_above(inputs, values, other)
        by_other = other | from_above
    forward = {**inputs._asdict(), **values._asdict(), "n": len(inputs.X)}
    return {
        blank: (
            forward | {f"d{k}": d for k, d in (other if generic else true).items()},
            np.asarray((by_other if generic else true)[blank]),
        )
        for blank in RIGHT
        for generic in [blank in from_above]
    }


def generate() -> dict[str, dict[str, str]]:
    """For each blank the generated lines, each with what one does who writes it."""
    with jax.enable_x64(True):
        return {blank: dict(_kept(blank)) for blank in RIGHT}


def _kept(blank: str) -> Iterator[tuple[str, str]]:
    names, right = numbers()[blank]
    seen = [right, *(value_of(m.code, names) for m in MISCONCEPTIONS[blank])]
    for code, you in _changed(blank, names):
        try:
            value = value_of(code, names)
        except Exception:  # Python or JAX tells it
            continue
        if np.isfinite(value).all() and all(
            distance_between(value, other, right) > APART for other in seen
        ):
            seen.append(value)
            yield code, you


def _changed(blank: str, names: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield f"-({RIGHT[blank]})", "turn the sign round"
    for line in (RIGHT[blank], *([FORMS[blank]] if blank in FORMS else [])):
        yield from _changes_of(ast.parse(line).body[0], blank, names)


def _changes_of(tree: ast.stmt, blank: str, names: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for place in list(places(tree, tree, "")):
        for new in [*replacements(place.node), *_confused(place.node, blank, names)]:
            if isinstance(new, ast.Constant) and isinstance(new.value, float):
                new = ast.Constant(float(f"{new.value:.5g}"))
            before = copy.deepcopy(tree)
            place.put(new)
            code = ast.unparse(ast.fix_missing_locations(tree))
            you = _told(place.node, new, place.parent) or _in_context(before, tree)
            place.put(place.node)
            yield code, you


def _confused(node: ast.expr, blank: str, names: dict[str, Any]) -> Iterator[ast.expr]:
    """Other names of the same shape, a value for a value, a cotangent for one above the blank."""
    if not isinstance(node, ast.Name) or node.id not in names:
        return
    fields = list(stepwise.Cotangents._fields)
    if blank in fields:
        known = (*FORWARD, *(f"d{name}" for name in fields[: fields.index(blank)]))
    else:  # a closed form reads a few names alone
        known = re.findall(r"\w+", RIGHT[blank])
    for name in known:
        alike = name in names and np.shape(names[name]) == np.shape(names[node.id])
        if alike and name != node.id and (name in FORWARD) == (node.id in FORWARD):
            yield ast.Name(name, ast.Load())


class _Words(NamedTuple):
    lost: str
    swapped: str


_OPERATORS: dict[type, _Words] = {
    ast.Add: _Words("leave out the term `{}`", "subtract `{}` in place of adding it"),
    ast.Sub: _Words("leave out the term `-{}`", "add `{}` in place of subtracting it"),
    ast.Mult: _Words("leave out the factor `{}`", "divide by `{}` in place of multiplying by it"),
    ast.Div: _Words("leave out the division by `{}`",
                    "multiply by `{}` in place of dividing by it"),
    ast.MatMult: _Words("leave out the product with `{}`", "multiply by `{}` from the other side"),
    ast.Pow: _Words("leave out the power `{}`", "multiply by `{}` in place of raising to it"),
}  # fmt: skip
_CALLS = {
    ("sum", "mean"): "take the mean in place of the sum",
    ("add", "set"): "write with .set in place of .add",
    ("set", "add"): "write with .add in place of .set",
    ("zeros_like", "ones_like"): "begin with ones in place of zeros",
    ("ones_like", "zeros_like"): "begin with zeros in place of ones",
    ("argmax", "argmin"): "mark the smallest in place of the largest",
}


def _told(old: ast.expr, new: ast.expr, parent: ast.AST) -> str | None:
    """What the change of a node is in words, where its kind has some."""
    text = ast.unparse
    match old, new:
        case ast.Constant(True), _:
            return f"leave out {parent.arg}=True"  # pyright: ignore
        case ast.Constant(), ast.Constant(axis) if isinstance(parent, ast.Call):
            return f"take axis {axis} in place of {text(old)}"
        case ast.Constant(), ast.Constant():
            return f"write {text(new)} in place of {text(old)}"
        case ast.BinOp(left, op, right), _ if new is left and type(op) in _OPERATORS:
            return _OPERATORS[type(op)].lost.format(text(right))
        case ast.BinOp(left, ast.Add() | ast.Mult() | ast.MatMult() as op, right), _ if (
            new is right
        ):
            return _OPERATORS[type(op)].lost.format(text(left))
        case ast.BinOp(_, _, right), _ if new is right:
            return f"keep `{text(right)}` alone"
        case ast.BinOp(left, ast.Sub(), right), ast.UnaryOp(ast.USub(), x) if x is right:
            return f"leave out the term `{text(left)}`"
        case ast.BinOp(left, op, right), ast.BinOp(x, _, y) if x is left and y is right:
            return _OPERATORS[type(op)].swapped.format(text(right))
        case ast.UnaryOp(ast.USub(), x), _ if new is x:
            return f"leave out the minus sign of `{text(x)}`"
        case ast.Attribute(x, "T"), _ if new is x:
            return f"leave out the transpose of `{text(x)}`"
        case ast.Call(ast.Attribute(x, "sum")), _ if new is x:
            return f"leave out the sum of `{text(x)}`"
        case ast.Call(ast.Attribute(attr=a)), ast.Call(ast.Attribute(attr=b)) if (a, b) in _CALLS:
            return _CALLS[a, b]
        case ast.Name(a), ast.Name(b):
            return f"write `{b}` in place of `{a}`"
        case _:
            return None


def _in_context(before: ast.AST, after: ast.AST) -> str:
    """The smallest operation, call or index that differs, after and before."""
    inner = before, after
    smallest = None
    while True:
        old, new = (list(ast.iter_child_nodes(node)) for node in inner)
        differ = [pair for pair in zip(old, new, strict=False) if len(set(map(ast.dump, pair))) > 1]
        if len(old) != len(new) or len(differ) != 1 or len(set(map(type, differ[0]))) > 1:
            break
        (inner,) = differ
        if isinstance(inner[0], ast.BinOp | ast.Call | ast.Tuple | ast.Subscript):
            smallest = inner
    if smallest is None or ast.dump(smallest[0]) == ast.dump(before):
        return f"write `{ast.unparse(after)}`"
    old, new = map(ast.unparse, smallest)
    return f"write `{new}` in place of `{old}`"


if __name__ == "__main__":
    FILE.write_text(json.dumps(generate(), indent=1, ensure_ascii=False) + "\n", "utf-8")
