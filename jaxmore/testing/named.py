"""Check a rule that is named by its module or file, as on the command line."""

import ast
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax

from jaxmore.errors import InputError, describe
from jaxmore.files import check_regular
from jaxmore.terminal import keep_streams
from jaxmore.testing.arguments import other_sizes, parse_args
from jaxmore.testing.case import DTYPES, check_dtypes
from jaxmore.testing.report import Report
from jaxmore.testing.rule import examine


@keep_streams()
def check_named_rule(
    spec: str,
    arguments: str,
    *,
    dtypes: Sequence[str] = DTYPES,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    **keywords: Any,
) -> Report:
    """Check a user's rule: ``jaxmore check my_module:my_fwd,my_bwd --args 'f[5,3] f[3]'``.

    Where letters stand for sizes, the rule is checked at several sizes: in all ways at the first,
    in float64 at the others.

    Args:
        spec: see :func:`load_rule`.
        arguments: see :func:`parse_args`.
        dtypes: the narrower dtypes to check in, besides float64.
        seed: the seed of the arguments and cotangents.
        options: keyword options of the rule; see :func:`parse_options`.
        **keywords: further keyword arguments of :func:`jaxmore.testing.rule.examine`.

    Returns:
        The report, whether the rule is right or wrong: the first that is wrong, else that of the
        first sizes.

    Raises:
        InputError: if there is no such module, function or dtype, or if the arguments cannot be
            read, are refused by the forward, or leave nothing to check.
    """
    fwd, bwd = load_rule(spec)
    functions = (fwd,) if bwd is None else (fwd, bwd)
    args = parse_args(arguments, seed=seed)
    check_dtypes(dtypes)
    keywords |= {"seed": seed, "options": dict(options or {})}
    try:
        report = examine(*functions, *args, dtypes=dtypes, **keywords)
    except InputError as error:
        raise InputError(f"{spec} on {arguments!r}: {error}") from error
    except (Exception, SystemExit) as error:  # whatever a user's forward raises
        raise InputError(f"{spec} on {arguments!r}: {describe(error)}") from error
    for sizes in other_sizes(arguments):
        if not report.passed:
            return report
        text = ", ".join(f"{name} = {size}" for name, size in sizes.items())
        try:
            args = parse_args(arguments, seed=seed, sizes=sizes)
            other = examine(*functions, *args, dtypes=(), modes=False, **keywords)
        except (Exception, SystemExit) as error:
            report.notes.append(f"not checked at {text}: {describe(error)}")
            continue
        if not other.passed:
            other.notes.append(f"at {text}; at the sizes tried before, it was right")
            return other
        report.notes.append(f"also right at {text}")
    return report


def parse_options(words: Iterable[str]) -> dict[str, Any]:
    """Parse the options of a rule: Python values where they are such, else strings.

    Args:
        words: texts like ``axis=1``.

    Raises:
        InputError: if a word is not of the form name=value.

    >>> parse_options(["axis=1", "mode=add", "eps=1e-5", "shape=(2, 3)"])
    {'axis': 1, 'mode': 'add', 'eps': 1e-05, 'shape': (2, 3)}
    """
    options: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.isidentifier():
            raise InputError(f"{word!r} is no option of a rule; write it like axis=1")
        try:
            options[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            options[name] = text
    return options


def load_rule(spec: str) -> tuple[Callable[..., Any], Callable[..., Any] | None]:
    """Import the forward and backward functions of ``module:fwd,bwd`` or ``file.py:fwd,bwd``.

    ``module:name`` is a ``jax.custom_vjp`` object of that name, for which None is returned as the
    backward function, or else short for ``module:name_fwd,name_bwd``. Modules are also looked for
    in the current folder.

    Raises:
        InputError: if there is no such module, file or function.
    """
    module_name, colon, functions = spec.partition(":")
    if not colon or not module_name or not functions:
        raise InputError(f"{spec!r} names no rule; write my_module:my_fwd,my_bwd")
    fwd, comma, bwd = functions.partition(",")
    if not comma:
        fwd, bwd = f"{functions}_fwd", f"{functions}_bwd"
    path = Path(module_name)
    is_file = path.suffix == ".py"
    folder = str((path.parent if is_file else Path()).resolve())
    if is_file:
        try:
            check_regular(path)
        except OSError as error:
            raise InputError(f"cannot import {path}: {error.strerror}") from error
    sys.path.insert(0, folder)
    try:
        with keep_streams():
            module = _from_file(path) if is_file else importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # whatever a user's module raises
        raise InputError(f"cannot import {path}: {describe(error)}") from error
    finally:
        sys.path.remove(folder)
    if not comma and isinstance(getattr(module, functions, None), jax.custom_vjp):
        return getattr(module, functions), None
    for name in (fwd, bwd):
        if not callable(getattr(module, name, None)):
            raise InputError(f"{path} has no function {name!r}")
    return getattr(module, fwd), getattr(module, bwd)


def _from_file(path: Path) -> ModuleType:
    # A name of its own: the file may be called like a module that is already loaded. Registered
    # while it runs and after, because dataclasses and pickle look their module up by its name.
    name = f"_rule_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
