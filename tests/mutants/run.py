"""Run the checks of a file on each mutant, and compare survivors with the list of equivalents."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, ModuleType
from typing import NamedTuple

import jax

from tests.mutants import closed_forms, layers, rules, stepwise
from tests.mutants.equivalent import EQUIVALENT, show
from tests.mutants.mutate import Mutant, mutants_of, tree_of


class Result(NamedTuple):
    """The result for one file."""

    file: str
    n_mutants: int
    n_equivalent: int
    alive: list[str]
    """Survivors that are not listed as equivalent."""
    killed: list[str]
    """Mutants listed as equivalent that were killed or no longer exist."""

    @property
    def n_killed(self) -> int:
        return self.n_mutants - self.n_equivalent - len(self.alive)

    @property
    def score(self) -> float:
        """The share of killed mutants among those that change the computation."""
        return self.n_killed / (self.n_mutants - self.n_equivalent)


def run(file: str) -> Result:
    """Run all mutants of a file, and the listed equivalents on random inputs."""
    home = load(file, compile(tree_of(file), file, "exec"))
    ninja = stepwise if file.endswith("stepwise.py") else closed_forms
    kind = {"rules": rules, "layers": layers}.get(file.split("/")[1], ninja)
    listed = {e.key: e for e in EQUIVALENT if e.file == file}
    found: set[tuple[str, str, str]] = set()
    alive: list[str] = []
    n_mutants = n_equivalent = 0
    with _conditions():
        checks = list(kind.checks_of(home))
        for check in checks:
            check(home)
        for mutant in mutants_of(file):
            n_mutants += 1
            if _is_killed(file, mutant, checks):
                continue
            key = mutant.function, mutant.before, mutant.after
            if key in listed:
                found.add(key)
                n_equivalent += 1
                show(listed[key], home, load(file, mutant.code))
            else:
                alive.append(str(mutant))
    killed = [str(e) for key, e in listed.items() if key not in found]
    return Result(file, n_mutants, n_equivalent, alive, killed)


def load(file: str, code: CodeType) -> ModuleType:
    """Execute the code of a file as a module with the original name."""
    module = ModuleType(file.removesuffix(".py").replace("/", "."))
    exec(code, module.__dict__)
    return module


def _is_killed(file: str, mutant: Mutant, checks: list[rules.Check]) -> bool:
    """Return whether a check fails. Move it to the front, as it likely kills the next one too."""
    killer = None
    try:
        module = load(file, mutant.code)
        for killer in checks:
            killer(module)
    except Exception:  # wrong in any way
        if killer:
            checks.remove(killer)
            checks.insert(0, killer)
        return True
    return False


@contextmanager
def _conditions() -> Iterator[None]:
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("strict"),
        warnings.catch_warnings(action="error"),
    ):
        warnings.filterwarnings("ignore", "Error reading persistent compilation cache")
        yield
