"""No vacuous proofs: the prover refuses every mutant that changes the exact function of a rule.

``make prove`` runs all mutants of the rules; ``tests/prove`` runs a sample. Each mutant that is not
refused gets a reason that is computed: :class:`Result` names the three that there are.
"""

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from functools import partial
from types import CodeType, ModuleType
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np

from jaxmore import rules
from jaxmore.prove.program import Program
from jaxmore.prove.rule import compare_at_a_point
from jaxmore.testing.arguments import parse_args
from jaxmore.testing.shipped import FAMILIES, Family
from tests.mutants.mutate import FILES, mutants_of, tree_of
from tests.mutants.oracle import python_loops
from tests.mutants.rules import check_right
from tests.mutants.run import load

RULES = [file for file in FILES if file.startswith("jaxmore/rules/")]
EDGES: dict[str, tuple[Family, ...]] = {
    "causal_attention": (
        Family("f[15,1] f[15,1] f[15,1]"),  # padded to 16 rows
        Family("f[0,3] f[0,3] f[0,3]"),
        Family("f[2,5,1] f[2,5,1] f[2,5,2]", {"block_size": 3}),  # a batch of blocks, wider values
        Family("f[2,1] f[2,1] f[2,1]", {"block_size": 1}),
    ),
    "embedding": (Family("i8[5]<100 f[200,1]"),),
    "flatten_consecutive": (Family("f[3,5]", {"n": 1}),),
    "l2_penalty": (Family("f[0,3]", {"scale": 0.1}),),
    "linear": (Family("f[0,3] f[3,5] f[5]"),),
    "softmax_cross_entropy": (Family("f[2,300] i8[2]=-1..100"),),
}
"""Arguments that take a branch of the Python code, or a shape, which no family takes."""
HELPERS = {
    "batch_norm_inference": Family("f[4,3] f[3] f[3] f[3] f[3]"),
    "batch_norm_statistics": Family("f[3,4,2] f[3]"),
}
"""Public functions without a backward beside the rules: their values must be the same numbers."""


class Result(NamedTuple):
    """The result for one file: each mutant is refused, or has a reason why it is not."""

    file: str
    n_mutants: int
    n_refused: int
    narrow: list[str]
    """The rule's float64 program is the one that ships, equation by equation; in a narrower dtype
    it is another. The mutant changes dtypes or rounding."""
    same: list[str]
    """The program is the same in every dtype. The mutant changes messages, what is refused,
    defaults, or a function that is not the rule's."""
    equal: list[str]
    """Another program that is proved, too, against the op that ships, and whose float64 values and
    gradients are PyTorch's."""
    escaped: list[str]
    """Proved, though PyTorch's values or gradients are others."""


class Rule(NamedTuple):
    """A rule of a module that may hold a mutant, on one family of arguments."""

    name: str
    index: int
    family: Family
    module: ModuleType

    def programs(self, dtype: str) -> str:
        """Return the programs of the plain forward, the forward and the backward, as text."""
        op, fwd, bwd = self.functions()
        with python_loops(), jax.enable_x64(dtype == "float64"):
            program = Program(fwd, bwd, op, parse_args(self.family.arguments), dtype)
        jaxprs = program.fwd, program.bwd, program.op
        consts = [_bytes(c) for j in jaxprs for c in j.consts]
        # A function that a primitive holds is named by its address, another one in each trace.
        return re.sub(" at 0x[0-9a-f]+", "", f"{jaxprs}{program.places}{consts}")

    def is_proved(self) -> bool:
        """Whether it is proved, with the op that ships as its definition."""
        own, fwd, bwd = self.functions()
        op, args = self._function(rules, ""), parse_args(self.family.arguments)

        def both(*args: Any) -> Any:
            return own(*args), fwd(*args)[1]

        if self.name in HELPERS:
            return _first_wrong(both, bwd, op, args) == "bwd"  # the values are compared first
        return all(_first_wrong(f, bwd, op, args) is None for f in (fwd, both))

    def functions(self) -> tuple[Any, Any, Any]:
        """The plain forward, the forward and the backward; of a helper, the last is wrong."""
        own = self._function(self.module, "")
        if self.name in HELPERS:
            return own, lambda *args: (own(*args), args), lambda args, _: args
        return own, *(self._function(self.module, end) for end in ("_fwd", "_bwd"))

    def _function(self, home: Any, end: str) -> Any:
        return partial(inspect.unwrap(getattr(home, self.name + end)), **self.family.options)


def _bytes(const: Any) -> tuple[Any, bytes]:
    if jax.numpy.issubdtype(const.dtype, jax.dtypes.prng_key):
        const = jax.random.key_data(const)
    return const.dtype, np.asarray(const).tobytes()


def _first_wrong(fwd: Any, bwd: Any, op: Any, args: Any) -> str | None:
    """Name what the prover refuses first, at one point."""
    try:
        with python_loops(), np.errstate(all="ignore"):
            program = Program(fwd, bwd, op, args)
            return compare_at_a_point(program, np.random.default_rng(0))[0]
    except Exception as error:  # not proved, or not even run
        return str(error)


def rules_of(file: str, code: CodeType) -> Iterator[Rule]:
    """Yield the rules of a file; of a file of helpers, those of the files that import it."""
    module = load(file, code)
    own = list(_rules_in(module))
    yield from own
    if not own:
        with mock.patch.dict(sys.modules, {module.__name__: module}):
            for other in RULES:
                if f"from {module.__name__} import" in ast.unparse(tree_of(other)):
                    yield from _rules_in(load(other, compile(tree_of(other), other, "exec")))


def _rules_in(module: ModuleType) -> Iterator[Rule]:
    for name, families in FAMILIES.items():
        bwd = getattr(module, f"{name}_bwd", None)
        if getattr(bwd, "__module__", "") == module.__name__:
            for i, family in enumerate((*families, *EDGES.get(name, ()))):
                yield Rule(name, i, family, module)
    for name, family in HELPERS.items():
        if getattr(module, name, None) and getattr(rules, name).__module__ == module.__name__:
            yield Rule(name, 0, family, module)


def _is_right(rule: Rule) -> bool:
    """Whether PyTorch's float64 values and gradients agree.

    Numbers so large or small that a mutant overflows or rounds them away are left out: that does
    not change the exact function. Nor does another rounding of the plain function.
    """
    is_edge = rule.index >= len(FAMILIES.get(rule.name, ()))
    if is_edge or "*1e" in rule.family.arguments or "*30" in rule.family.arguments:
        return True
    try:
        check_right(rule.name, rule.index, rule.module, same_bits=False)
    except Exception:
        return False
    return True


def judge(file: str, which: slice = slice(None)) -> Result:
    """Give the prover these of the mutants of a file."""
    mutants = list(mutants_of(file))[which]
    found = Result(file, len(mutants), 0, [], [], [], [])
    with jax.enable_x64(True):
        shipped = {}
        for rule in rules_of(file, compile(tree_of(file), file, "exec")):
            assert rule.is_proved() or _cuts_off(rule)
            shipped[rule[:2]] = {dtype: rule.programs(dtype) for dtype in (WIDE, *NARROW)}
        n_refused = 0
        for mutant in mutants:
            kind = _judge_mutant(file, mutant.code, shipped)
            if kind == "refused":
                n_refused += 1
            else:
                getattr(found, kind).append(str(mutant))
    return found._replace(n_refused=n_refused)


WIDE, NARROW = "float64", ("float32", "bfloat16")


def _judge_mutant(file: str, code: CodeType, shipped: dict[Any, dict[str, str]]) -> str:
    try:
        mutated = list(rules_of(file, code))
        other = [rule for rule in mutated if rule.programs(WIDE) != shipped[rule[:2]][WIDE]]
        if any(_cuts_off(rule) for rule in other):
            other = [rule for rule in mutated if not _cuts_off(rule)]
        if not all(rule.is_proved() for rule in other):
            return "refused"
    except Exception:  # it does not even run
        return "refused"
    if other:
        return "equal" if all(map(_is_right, other)) else "escaped"
    for rule in mutated:
        for dtype in NARROW:
            try:
                if rule.programs(dtype) != shipped[rule[:2]][dtype]:
                    return "narrow"
            except Exception:
                return "narrow"
    return "same"


def _cuts_off(rule: Rule) -> bool:
    """Whether a family reaches where the rule itself cuts off what rounds to zero (gelu at 40)."""
    return rule.name == "gelu" and rule.family.arguments == "f[7]*100"
