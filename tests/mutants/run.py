"""Every mutant of a file against the checks of the file, and the survivors against the table."""

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
    """What a file's mutants came to."""

    file: str
    n_mutants: int
    n_equivalent: int
    alive: list[str]
    """Survivors that the table does not hold."""
    killed: list[str]
    """Mutants that the table holds, and that were killed or are no more."""

    @property
    def n_killed(self) -> int:
        return self.n_mutants - self.n_equivalent - len(self.alive)

    @property
    def score(self) -> float:
        """The killed among those that change what is computed."""
        return self.n_killed / (self.n_mutants - self.n_equivalent)


def run(file: str) -> Result:
    """All mutants of one file, and the listed ones on random inputs."""
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
    """The module that a file's code makes, under the name of the right one."""
    module = ModuleType(file.removesuffix(".py").replace("/", "."))
    exec(code, module.__dict__)
    return module


def _is_killed(file: str, mutant: Mutant, checks: list[rules.Check]) -> bool:
    """Whether a check fails; it comes first from then on, for the next mutant stands beside."""
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
