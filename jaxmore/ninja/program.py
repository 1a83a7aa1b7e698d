"""A learner's file as a program that runs statement by statement."""

import ast
import contextlib
import io
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmore.errors import InputError
from jaxmore.ninja.blanks import NAMES


class Failure(NamedTuple):
    """An exception in the learner's file."""

    line: int
    text: str


class Run(NamedTuple):
    """What the file made of each name, and on which backward lines it failed."""

    values: dict[str, Any]
    failures: dict[str, Failure]


class Program(NamedTuple):
    """The file's statements, and for every name the place of the last one that assigns it."""

    path: Path
    statements: list[ast.stmt]
    last: dict[str, int]

    def line_of(self, name: str) -> int | None:
        """Where a name gets its value for good."""
        return self.statements[self.last[name]].lineno if name in self.last else None

    def run(self, given: Mapping[str, Any], quietly: bool = False) -> Run:
        """Run the file, and put the given cotangents in the place of its own.

        Args:
            given: cotangents by variable. Each takes the place of the file's own as soon as that
                has its value for good.
            quietly: throw away what the file prints.

        Raises:
            InputError: a statement fails that is no backward line.
        """
        namespace: dict[str, Any] = {"__name__": self.path.stem, "__file__": str(self.path)}
        run = Run({}, {})
        with contextlib.redirect_stdout(io.StringIO()) if quietly else contextlib.nullcontext():
            for place, statement in enumerate(self.statements):
                names = _assigned(statement)
                try:
                    code = compile(ast.Module([statement], []), str(self.path), "exec")
                    exec(code, namespace)
                except (Exception, SystemExit) as error:  # the file is a stranger's
                    failure = self._failure(error, statement)
                    blanks = [name for name in NAMES if f"d{name}" in names]
                    if not blanks:
                        message = f"{self.path}, line {failure.line}: {failure.text}"
                        raise InputError(message) from error
                    run.failures.update(dict.fromkeys(blanks, failure) | run.failures)
                for name in names:
                    if self.last[name] == place:
                        run.values[name] = namespace.get(name)
                        if name[1:] in given and name[0] == "d":
                            namespace[name] = given[name[1:]]
        return run

    def refuse_changed(self, run: Run, forward: Mapping[str, Any]) -> None:
        """Refuse a file whose forward lines make something else.

        Raises:
            InputError: a name is missing, or its value is another one.
        """
        for name, right in forward.items():
            if name not in run.values:
                raise InputError(f"{self.path} has no line for {name}: {_RESTORE}")
            with contextlib.suppress(TypeError, ValueError):  # no array, or of another shape
                if np.allclose(run.values[name], right, rtol=1e-6):
                    continue
            line = self.line_of(name)
            raise InputError(f"{self.path}, line {line}: {name} has changed: {_RESTORE}")

    def _failure(self, error: BaseException, statement: ast.stmt) -> Failure:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f.lineno for f in frames if f.filename == str(self.path) and f.lineno]
        first = str(error).split("\n", 1)[0]
        text = f"{type(error).__name__}: {first}" if first else type(error).__name__
        return Failure(lines[-1] if lines else statement.lineno, text)


_RESTORE = "the lines above Exercise 1 are to stay as `jaxmore exercise` wrote them"


def parse(path: Path) -> Program:
    """Read a learner's file.

    Raises:
        InputError: it cannot be read, is no Python, or assigns none of the exercise's cotangents.
    """
    try:
        statements = ast.parse(path.read_text("utf-8")).body
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise InputError(f"{path}{line}: {error.msg}") from error
    except ValueError as error:  # not UTF-8, or a null byte
        raise InputError(f"{path} is no Python file: {error}") from error
    last = {name: place for place, s in enumerate(statements) for name in _assigned(s)}
    if not any(f"d{name}" in last for name in NAMES):
        raise InputError(
            f"{path} assigns none of dlogprobs, dprobs, …: `jaxmore exercise DIR` writes the file "
            "to fill in, and a rule of yours is named as FILE.py:my_fwd,my_bwd"
        )
    return Program(path, statements, last)


def _assigned(statement: ast.stmt) -> set[str]:
    """The names that a statement of the module assigns, defines or writes into.

    That is ``a[i] = v``, and NumPy's ``np.add.at(a, i, v)``.
    """
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return {statement.name}
    names: set[str] = set()
    for node in ast.walk(statement):
        match node:
            case ast.Call(func=ast.Attribute(attr="at"), args=[target, *_]):
                pass
            case ast.Name(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del()):
                target = node
            case _:
                continue
        while isinstance(target, ast.Subscript):
            target = target.value
        if isinstance(target, ast.Name):
            names.add(target.id)
    return names
