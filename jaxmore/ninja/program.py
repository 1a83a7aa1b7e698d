"""A learner's file as a program that runs statement by statement."""

import ast
import contextlib
import io
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmore.data import printable
from jaxmore.errors import InputError, describe
from jaxmore.files import read_file
from jaxmore.ninja.exercise import Exercise
from jaxmore.ninja.exercises import EXERCISES
from jaxmore.terminal import keep_streams


class Failure(NamedTuple):
    """An exception in the learner's file."""

    line: int
    text: str


class Change(NamedTuple):
    """A statement that changes an array under a name that it does not assign."""

    line: int
    place: int
    by: frozenset[str]
    """The names that it assigns."""
    of: str


class Run(NamedTuple):
    """What the file made of each name, where it failed, and which arrays it changed in passing."""

    values: dict[str, Any]
    """Of each name when it had its value for good."""
    failures: dict[str, Failure]
    changes: list[Change]
    final: dict[str, Any]
    """The namespace after the last statement."""


class Program(NamedTuple):
    """The file's statements, and for every name the place of the last one that assigns it."""

    path: Path
    exercise: Exercise
    statements: list[ast.stmt]
    last: dict[str, int]

    @property
    def filename(self) -> str:
        """The path as text: JAX puts it into its programs, where lone surrogates cannot be."""
        return str(self.path).encode("utf-8", "backslashreplace").decode()

    def line_of(self, name: str) -> int | None:
        """Find the line that gives a name its value for good."""
        return self.statements[self.last[name]].lineno if name in self.last else None

    def run(
        self, given: Mapping[str, Any], quietly: bool = False, built_up: Mapping[str, int] = {}
    ) -> Run:
        """Run the file, and put the given cotangents in the place of its own.

        Args:
            given: cotangents by variable. Each replaces the file's own as soon as that has its
                value for good, as the kind of array that the file uses. Empty: the file runs as it
                does alone, whatever fails, and the arrays that it changes in passing are looked
                for.
            quietly: throw away what the file prints.
            built_up: names that are finished later than by their last assignment, and where.

        Raises:
            InputError: a statement fails that is no backward line.
            BrokenPipeError: nobody reads what the file prints.
        """
        namespace: dict[str, Any] = {"__name__": self.path.stem, "__file__": str(self.path)}
        run = Run({}, {}, [], namespace)
        judged = self.exercise.names
        done = self.last | dict(built_up)
        before: dict[str, np.ndarray] = {}
        kept: dict[str, np.ndarray] = {}
        quiet = contextlib.redirect_stdout(io.StringIO()) if quietly else contextlib.nullcontext()
        with quiet, keep_streams():
            for place, statement in enumerate(self.statements):
                names = _assigned(statement)
                try:
                    code = compile(ast.Module([statement], []), self.filename, "exec")
                    exec(code, namespace)
                except (KeyboardInterrupt, BrokenPipeError):
                    raise
                except BaseException as error:  # the file is a stranger's
                    failure = self._failure(error, statement)
                    blanks = [name for name in judged if f"d{name}" in names]
                    if not blanks and given:
                        message = f"{self.path}, line {failure.line}: {failure.text}"
                        raise InputError(message) from error
                    run.failures.update(dict.fromkeys(blanks, failure) | run.failures)
                if not given:
                    now = _mutable(namespace)
                    run.changes.extend(
                        Change(statement.lineno, place, frozenset(names), name)
                        for name, value in before.items()
                        if name not in names and name in now and not _equal(now[name], value)
                    )
                    before = {name: value.copy() for name, value in now.items()}
                for name, value in kept.items():  # a line that changes it is told, once
                    if name not in names and not _equal(to_numpy(namespace.get(name)), value):
                        namespace[name] = _as_kind_of(namespace.get(name), value)
                for name in [name for name, at in done.items() if at == place]:
                    run.values[name] = _copied(namespace.get(name))
                    if name[1:] in given and name[0] == "d":
                        namespace[name] = _as_kind_of(run.values[name], given[name[1:]])
                    if given and name.removeprefix("d") in judged and name in _mutable(namespace):
                        kept[name] = np.array(to_numpy(namespace[name]))
        return run

    def refuse_changed(self, run: Run, forward: Mapping[str, Any]) -> None:
        """Refuse a file whose forward lines make something else.

        Raises:
            InputError: a name is missing, or its value is another one.
        """
        for name, right in forward.items():
            if name not in run.values:
                raise InputError(f"{self.path} has no line for {name}: {_RESTORE}")
            value = to_numpy(run.values[name])
            with contextlib.suppress(ValueError):  # of another shape
                if value is not None and np.allclose(value, right, rtol=1e-6):
                    continue
            line = self.line_of(name)
            raise InputError(f"{self.path}, line {line}: {name} has changed: {_RESTORE}")

    def _failure(self, error: BaseException, statement: ast.stmt) -> Failure:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f.lineno for f in frames if f.filename == self.filename and f.lineno]
        line = lines[-1] if lines else statement.lineno
        return Failure(line, printable(describe(error)))


def to_numpy(value: Any) -> np.ndarray | None:
    """Read a value of the file as an array of float64; None where it is no array of numbers."""
    try:
        # A PyTorch tensor that requires a gradient gives its numbers only when detached.
        detached = value.detach().cpu() if hasattr(value, "detach") else value
        return np.asarray(detached).astype(float, casting="same_kind")
    except (KeyboardInterrupt, BrokenPipeError):
        raise
    except BaseException:  # reading it may run any code of the file
        return None


def _copied(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value


def _as_kind_of(value: Any, given: Any) -> Any:
    """Make of a cotangent what the file can go on with: its own kind of array."""
    if isinstance(value, np.ndarray):
        return np.array(given, value.dtype if value.dtype.kind == "f" else float)
    if hasattr(value, "new_tensor"):
        with contextlib.suppress(Exception):
            return value.detach().new_tensor(np.array(given))
    return given


def _mutable(namespace: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a namespace that a statement could write into: NumPy's and PyTorch's."""
    arrays: dict[str, np.ndarray] = {}
    for name, value in list(namespace.items()):
        is_tensor = type(value).__module__.split(".")[0] == "torch"
        if isinstance(value, np.ndarray) or (is_tensor and hasattr(value, "new_tensor")):
            array = to_numpy(value)
            if array is not None:
                arrays[name] = array
    return arrays


def _equal(a: np.ndarray | None, b: np.ndarray) -> bool:
    return a is not None and np.array_equal(a, b, equal_nan=True)


_RESTORE = "the lines above the first blank are to stay as `jaxmore exercise` wrote them"


def parse(path: Path) -> Program:
    """Read a learner's file, and tell by its forward lines which exercise it is.

    Raises:
        InputError: it cannot be read, is no Python, or assigns no cotangent of any exercise.
    """
    try:
        statements = ast.parse(read_file(path), str(path)).body  # BOM and coding line as Python
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise InputError(f"{path}{line}: {printable(error.msg)}") from error
    except (ValueError, RecursionError, MemoryError) as error:  # a null byte, too deep a nest
        raise InputError(f"{path} is no Python file: {error}") from error
    last = {name: place for place, s in enumerate(statements) for name in _assigned(s)}
    tried = [e for e in EXERCISES.values() if any(f"d{name}" in last for name in e.names)]
    if not tried:
        raise InputError(
            f"{path} assigns no cotangent of an exercise (dlogits, dh, …): `jaxmore exercise DIR` "
            "writes the file to fill in, and a rule of yours is named as FILE.py:my_fwd,my_bwd"
        )
    exercise = max(tried, key=lambda exercise: exercise.share_of_forward(last))
    return Program(path, exercise, statements, last)


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
