"""Linear rules whose backward is the chain of the transposes of their forward, in reverse order.

docs/proof.md says why such a rule is right, under "All sizes". A program is followed without
numbers: its one float array is passed from step to step, and all else (ids, masks, counts, scales)
is known by the operations that make it. So the comparison holds for all ids in range and all masks.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby, product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jaxmore import rules
from jaxmore.prove.interpreter import closed, has_body
from jaxmore.prove.residues import NotProved
from jaxmore.testing.arguments import parse_args
from tests.prove.outline import CALLS

LEADING = ("", "1,", "6,", "3,2,")
SIZES = (1, 2, 9, 64, 101)
"""The sizes at which forward and backward are compared: one, even, odd, and a larger prime."""
LINEAR: dict[str, Callable[..., tuple[str, dict[str, Any]]]] = {
    "causal_mean": lambda lead, t, e: (f"f[{lead}{t},{e}]", {}),
    "dropout": lambda lead, t, e: (f"f[{lead}{t},{e}] key", {"rate": 0.3}),
    "embedding": lambda lead, v, e: (f"i[{lead}5]<{v} f[{v},{e}]", {}),
    "flatten": lambda lead, t, e: (f"f[{lead}{t},{e}]", {"block_size": t}),
    # With n = 1 it is the identity, another chain.
    "flatten_consecutive": lambda lead, n, e: (f"f[{lead}{e * (n + 1)},{e}]", {"n": n + 1}),
}
"""Rules that ship: their arguments and options for some leading axes and two sizes."""
TRANSPOSES = {"gather": "scatter-add", "cumsum": "cumsum from the end"}
TRANSPOSES |= {after: before for before, after in TRANSPOSES.items()}
"""Steps whose transpose is of another kind."""


def check_shipped(name: str) -> None:
    """Raise NotProved if a rule that ships is not its transposes at each of the sizes."""
    functions = [getattr(rules, name + end) for end in ("", "_fwd", "_bwd")]
    check_transposes(*functions, LINEAR[name])


def check_transposes(op: Any, fwd: Any, bwd: Any, case: Callable[..., Any]) -> None:
    """Raise NotProved if a rule is not its transposes, or another chain at another size."""
    found = set[tuple[str, ...]]()
    for lead, *sizes in product(LEADING, SIZES, SIZES):
        text, options = case(lead, *sizes)
        functions = [partial(f, **options) for f in (op, fwd, bwd)]
        try:
            found.add(compare(*functions, parse_args(text)))
        except NotProved as error:
            raise NotProved(f"{error}, for {text}") from None
    if len(found) > 1:
        raise NotProved(f"another chain at another size: {sorted(found)}")


class Step(NamedTuple):
    """A linear operation on the array that a program passes on."""

    kind: str
    before: tuple[int, ...]
    """The shape that it takes."""
    after: tuple[int, ...]
    """The shape that it gives."""
    details: tuple[Any, ...] = ()
    """Its axis or dimension numbers, and the numbers of the terms that it holds."""

    @property
    def transpose(self) -> "Step":
        """The transpose: it takes what this step gives, and holds the same."""
        kind = TRANSPOSES.get(self.kind, self.kind)
        return Step(kind, self.after, self.before, self.details)


def compare(op: Any, fwd: Any, bwd: Any, args: Sequence[Any]) -> tuple[str, ...]:
    """Return the kinds of the forward's steps; raise NotProved if bwd is not their transposes."""
    with jax.enable_x64(True):
        forward, (y, residuals) = jax.make_jaxpr(fwd, return_shape=True)(*args)
        backward, cotangents = jax.make_jaxpr(bwd, return_shape=True)(residuals, y)
        plain = jax.make_jaxpr(op)(*args)
    is_float = [jnp.issubdtype(a.dtype, np.floating) for a in args]
    if sum(is_float) != 1 or len(jax.tree.leaves(y)) != 1:
        raise NotProved("several float arrays")
    if [d is not None for d in cotangents] != is_float:
        raise NotProved("a cotangent of another argument")
    follower = Follower()
    given = [None if f else follower.number("argument", i) for i, f in enumerate(is_float)]
    steps, saved = follower.chain(forward, given)
    back, _ = follower.chain(backward, [*saved, None])
    if follower.chain(plain, given)[0] != steps:
        raise NotProved("fwd is not the chain of op")
    if _in_order([step.transpose for step in reversed(steps)]) != _in_order(back):
        raise NotProved(f"{back} are not the transposes of {steps} in reverse order")
    return tuple(step.kind for step in steps)


def _in_order(steps: Sequence[Step]) -> list[Step]:
    """Sort products that follow each other: they commute."""
    runs = groupby(steps, lambda step: step.kind == "product")
    return [step for commute, run in runs for step in (sorted(run) if commute else run)]


class Passed(NamedTuple):
    """The float array after some steps of a chain."""

    chain: int
    n_steps: int


class Follower:
    """Follows programs; a value that does not depend on the float array is a numbered term.

    Two terms have one number if the same operations make them of the same terms.
    """

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self._zeros = set[int]()
        self._n_chains = 0
        self._steps = list[Step]()

    def number(self, *term: Any) -> int:
        """Return the number of a term."""
        return self._numbers.setdefault(term, len(self._numbers))

    def chain(self, program: Any, args: Sequence[Any]) -> tuple[list[Step], list[Any]]:
        """Return the steps from the argument None to the first result, and the other results."""
        self._n_chains += 1
        self._steps = []
        first, *rest = self._follow(program, [self._newest() if a is None else a for a in args])
        if first != self._newest():
            raise NotProved("the result is not that of the last step")
        return self._steps, rest

    def _newest(self) -> Passed:
        return Passed(self._n_chains, len(self._steps))

    def _follow(self, program: Any, args: Sequence[Any]) -> list[Any]:
        jaxpr = program.jaxpr
        values = dict(zip(jaxpr.invars, args, strict=True))
        for variable, const in zip(jaxpr.constvars, program.consts, strict=True):
            array = np.asarray(const)
            values[variable] = self.number("array", array.dtype, array.shape, array.tobytes())

        def value_of(atom: Any) -> Any:
            if not isinstance(atom, core.Literal):
                return values[atom]
            literal = self.number("literal", str(atom.aval), repr(atom.val))
            self._zeros |= {literal} if atom.val == 0 else set()
            return literal

        for equation in jaxpr.eqns:
            outs = self._evaluate(equation, [value_of(atom) for atom in equation.invars])
            values |= dict(zip(equation.outvars, outs, strict=True))
        return [value_of(atom) for atom in jaxpr.outvars]

    def _evaluate(self, equation: Any, operands: list[Any]) -> list[Any]:
        name, params = equation.primitive.name, equation.params
        if name in CALLS:
            body = params.get("jaxpr", params.get("call_jaxpr", params.get("fun_jaxpr")))
            return self._follow(closed(body), operands)
        if any(isinstance(operand, Passed) for operand in operands):
            return [self._step(equation, operands)]
        if has_body(equation):
            raise NotProved(f"a constant made by {name}")
        outs = [
            self.number(name, str(sorted(params.items())), *operands, i)
            for i in range(len(equation.outvars))
        ]
        if name in ("broadcast_in_dim", "convert_element_type") and operands[0] in self._zeros:
            self._zeros |= {*outs}
        return outs

    def _step(self, equation: Any, operands: list[Any]) -> Passed:
        """Note the step of an equation that takes the float array."""
        name, params = equation.primitive.name, equation.params
        at = [i for i, operand in enumerate(operands) if isinstance(operand, Passed)]
        if [operands[i] for i in at] != [self._newest()]:
            raise NotProved(f"{name} takes another array than that of the step before")
        before, after = (v.aval.shape for v in (equation.invars[at[0]], equation.outvars[0]))
        terms = [operand for operand in operands if not isinstance(operand, Passed)]
        if name == "convert_element_type" and jnp.issubdtype(params["new_dtype"], np.floating):
            return operands[0]  # rounding is not part of the proof
        is_product = before == after and (
            name == "mul"
            or (name == "div" and at == [0])
            or (name == "select_n" and at != [0] and self._zeros.issuperset(terms[1:]))
        )
        numbers, kind, details = params.get("dimension_numbers"), name, tuple[Any, ...]()
        if is_product:
            kind, details = "product", (name, *terms, *(at if name == "select_n" else ()))
        elif name == "cumsum":
            kind = "cumsum from the end" if params["reverse"] else "cumsum"
            details = (params["axis"],)
        elif name == "gather" and _promises_nothing(params):
            # The order in which a scatter names the same numbers.
            details = (
                numbers.offset_dims, numbers.collapsed_slice_dims, numbers.start_index_map,
                numbers.operand_batching_dims, numbers.start_indices_batching_dims, *terms,
            )  # fmt: skip
        elif name == "scatter-add" and at == [2] and self._zeros.issuperset(terms[:1]):
            if not _promises_nothing(params):
                raise NotProved("a promise about the indices")
            details = (*numbers, terms[1])
        elif not (name == "reshape" and params["dimensions"] is None):
            raise NotProved(f"no transpose of {name} is known here")
        self._steps.append(Step(kind, before, after, details))
        return self._newest()


def _promises_nothing(params: Any) -> bool:
    """Whether the indices may be in any order, and equal."""
    return not (params["unique_indices"] or params["indices_are_sorted"])
