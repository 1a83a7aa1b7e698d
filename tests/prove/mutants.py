"""No vacuous proofs: the prover refuses every mutant that changes the exact function of a rule.

``make prove`` runs all mutants of the rules; ``tests/prove`` runs a sample. A mutant that the
prover accepts must be one that the float64 values and gradients of PyTorch do not kill either: it
changes dtypes, rounding, messages or speed.
"""

import inspect
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmore import rules
from jaxmore.prove.program import Program
from jaxmore.prove.rule import compare_at_a_point
from jaxmore.testing.arguments import parse_args
from jaxmore.testing.shipped import FAMILIES
from tests.mutants.mutate import FILES, mutants_of, tree_of
from tests.mutants.oracle import python_loops
from tests.mutants.rules import check_right
from tests.mutants.run import load

RULES = [file for file in FILES if file.startswith("jaxmore/rules/")]


class Result(NamedTuple):
    """The result for one file."""

    file: str
    names: list[str]
    """The rules of the file."""
    n_mutants: int
    n_refused: int
    harmless: list[str]
    """Accepted, and their float64 values and gradients are right."""
    escaped: list[str]
    """Accepted, though they change the exact function."""


def names_in(module: ModuleType) -> list[str]:
    """Name the rules that a module defines."""
    return [
        name
        for name in FAMILIES
        if getattr(getattr(module, f"{name}_bwd", None), "__module__", "") == module.__name__
    ]


def is_refused(module: ModuleType, names: list[str]) -> bool:
    """Whether the prover refuses a rule of a module, with the op that ships as its definition."""
    for name in names:
        for family in FAMILIES[name]:
            if _cuts_off(name, family):
                continue
            args = parse_args(family.arguments)
            fwd, bwd = (
                partial(inspect.unwrap(getattr(module, name + end)), **family.options)
                for end in ("_fwd", "_bwd")
            )
            op = partial(inspect.unwrap(getattr(rules, name)), **family.options)
            own = partial(inspect.unwrap(getattr(module, name)), **family.options)

            def both(*args: Any, own: Any = own, fwd: Any = fwd) -> Any:
                return own(*args), fwd(*args)[1]

            if not (_holds(fwd, bwd, op, args) and _holds(both, bwd, op, args)):
                return True
    return False


def _holds(fwd: Any, bwd: Any, op: Any, args: Any) -> bool:
    try:
        with python_loops(), np.errstate(all="ignore"):
            program = Program(fwd, bwd, op, args)
            return compare_at_a_point(program, np.random.default_rng(0))[0] is None
    except Exception:  # not proved, or not even run
        return False


def changes_the_function(module: ModuleType, names: list[str]) -> bool:
    """Whether PyTorch's float64 values or gradients kill a mutant.

    Numbers so large or small that a mutant overflows or rounds them away are left out: that does
    not change the exact function. Nor does another rounding of the plain function.
    """
    try:
        for name in names:
            for i, family in enumerate(FAMILIES[name]):
                if "*1e" not in family.arguments and "*30" not in family.arguments:
                    check_right(name, i, module, same_bits=False)
    except Exception:
        return True
    return False


def judge(file: str, every: int = 1) -> Result:
    """Give the prover every n-th mutant of a file."""
    mutants = list(mutants_of(file))[::every]
    harmless, escaped = list[str](), list[str]()
    home = load(file, compile(tree_of(file), file, "exec"))
    names, module = names_in(home), None
    with jax.enable_x64(True):
        assert not is_refused(home, names)
        for mutant in mutants if names else []:
            try:
                module = load(file, mutant.code)
                refused = is_refused(module, names)
            except Exception:
                refused = True
            if not refused and module:
                wrong = changes_the_function(module, names)
                (escaped if wrong else harmless).append(str(mutant))
    n_mutants = len(mutants) if names else 0
    n_refused = n_mutants - len(harmless) - len(escaped)
    return Result(file, names, n_mutants, n_refused, harmless, escaped)


def _cuts_off(name: str, family: Any) -> bool:
    """Whether a family reaches where the rule itself cuts off what rounds to zero (gelu at 40)."""
    return name == "gelu" and family.arguments == "f[7]*100"
