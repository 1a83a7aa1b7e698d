"""Generic arguments for every rule that ships, and checks of rules named on a command line."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmore import rules
from jaxmore.errors import InputError
from jaxmore.models import MODELS, model_options
from jaxmore.testing.arguments import parse_args
from jaxmore.testing.case import DTYPES
from jaxmore.testing.model import ModelReport, examine_model
from jaxmore.testing.report import Report
from jaxmore.testing.rule import examine


class Family(NamedTuple):
    """Arguments (:func:`parse_args`) and options on which a rule has to be right."""

    arguments: str
    options: dict[str, Any] = {}  # noqa: RUF012 -- never changed


_CELL = "f[*B,E] f[*B,H]"
_NORM = ("f[*B,E] f[E] f[E]", "f[5,3]*1e-3+2 f[3] f[3]", "f[5,3]*1e3 f[3] f[3]")

N_VOCAB = 5
SMALL = {"block_size": 4, "n_embd": 4, "n_embd2": 6, "n_layer": 2, "n_head": 2}
"""The size in which models are checked, as far as a model knows these options."""

FAMILIES: dict[str, tuple[Family, ...]] = {
    "batch_norm": (
        *map(Family, _NORM),
        Family("f[2,3] f[3] f[3]", {"eps": 0.1}),
        Family("f[5,1] f[1] f[1]"),
    ),
    "causal_attention": (
        Family("f[*B,T,D] f[*B,T,D] f[*B,T,D]"),
        Family("f[5,3]*30 f[5,3]*30 f[5,3]", {"block_size": 3}),
        Family("f[7,3] f[7,3] f[7,3]", {"block_size": 3}),
        Family("f[3,1,5] f[3,1,5] f[3,1,5]"),
        Family("f[3,5,1] f[3,5,1] f[3,5,1]"),
    ),
    "causal_mean": (Family("f[*B,T,E]"), Family("f[1,1]"), Family("f[7,3]*1e4")),
    "dropout": (
        Family("f[*B,E] key", {"rate": 0.3}),
        Family("f[7] key", {"rate": 0.0}),
        Family("f[1] key", {"rate": 0.5}),
    ),
    "embedding": (
        Family("i[*B,T]<3 f[3,E]"),
        Family("i[]<4 f[4,3]"),
        Family("i8[5]<1 f[1,3]"),
        Family("i[7]<3 f[9,1]"),
    ),
    "flatten": (Family("f[*B,3,E]", {"block_size": 3}), Family("f[1,1]", {"block_size": 1})),
    "flatten_consecutive": (Family("f[*B,8,E]", {"n": 2}), Family("f[3,1]", {"n": 3})),
    "gelu": tuple(
        Family(arguments, {"approximate": approximate})
        for approximate in (False, True)
        for arguments in ("f[*B,E]", "f[7]*0.5-6", "f[7]*100")
    ),
    "gru_cell": (
        Family(f"{_CELL} f[E+H,H] f[H] f[E+H,H] f[H] f[E+H,H] f[H]"),
        Family("f[1,1] f[1,1] f[2,1] f[1] f[2,1] f[1] f[2,1] f[1]"),
    ),
    "l2_penalty": (Family("f[*B,E]", {"scale": 0.7}), Family("f[1]", {"scale": 0.01})),
    "layer_norm": (*map(Family, _NORM), Family("f[3,2] f[2] f[2]", {"eps": 0.1})),
    "linear": (
        Family("f[*B,I] f[I,O] f[O]"),
        Family("f[5,3] f[3,7] none"),
        Family("f[5,7] f[7,3] f[3]"),
        Family("f[3] f[3,5] f[5]"),
        Family("f[1,1] f[1,1] f[1]"),
    ),
    "lstm_cell": (
        Family(f"{_CELL} f[*B,H] f[E+H,4*H] f[4*H]"),
        Family("f[1,1] f[1,1] f[1,1] f[2,4] f[4]"),
    ),
    "relu": (Family("f[*B,E]"), Family("f[3]*0"), Family("f[7]*1e4")),
    "rms_norm": (
        Family("f[*B,E] f[E]"),
        Family("f[5,3]*1e-3 f[3]"),
        Family("f[5,1] f[1]", {"eps": 0.1}),
    ),
    "rnn_cell": (Family(f"{_CELL} f[E+H,H] f[H]"), Family("f[1,1] f[1,1] f[2,1] f[1]")),
    "sigmoid": (Family("f[*B,E]"), Family("f[7]*0.5+30"), Family("f[7]*0.5-30")),
    "softmax": (
        Family("f[*B,V]"),
        Family("f[3,5,7]", {"axis": 1}),
        Family("f[5,7]*1e4"),
        Family("f[5,1]"),
    ),
    "softmax_cross_entropy": (
        Family("f[*B,7] i[*B]=-1..7"),
        Family("f[5,7]*1e4 i[5]<7"),
        Family("f[5,7] i[5]=-1..0"),
        Family("f[5,1] i8[5]<1"),
        Family("f[7] i[]<7"),
    ),
    "tanh": (Family("f[*B,E]"), Family("f[7]*0.5+9"), Family("f[7]*0.5-9")),
}
"""Every rule's families, the generic one first: leading axes, distinct sizes, repeated
ids, ignored targets; then sizes of 1, large and tiny values, tails."""


def check_shipped_rules(
    names: Iterable[str] = (),
    *,
    dtypes: Sequence[str] = DTYPES,
    every_family: bool = False,
) -> list[Report]:
    """Check the rules of :mod:`jaxmore.rules`.

    Args:
        names: which rules; all of them without one.
        dtypes: the narrower dtypes to check in, beside float64.
        every_family: check on all of :data:`FAMILIES`, not on the generic arguments alone.

    Returns:
        A report for each rule and family, right or wrong.

    Raises:
        InputError: no such rule or dtype.
    """
    names = list(names) or list(FAMILIES)
    for name in names:
        if name not in FAMILIES:
            raise InputError(f"no rule {name!r}; there are {', '.join(FAMILIES)}")
    _check_dtypes(dtypes)
    return [
        check_family(name, family, dtypes=dtypes)
        for name in names
        for family in FAMILIES[name][: None if every_family else 1]
    ]


def check_family(
    name: str, family: Family, *, dtypes: Sequence[str] = DTYPES, modes: bool = True
) -> Report:
    """Check one rule of :mod:`jaxmore.rules` on one family of arguments."""
    op, fwd, bwd = (getattr(rules, name + suffix) for suffix in ("", "_fwd", "_bwd"))
    args = parse_args(family.arguments)
    return examine(fwd, bwd, *args, op=op, dtypes=dtypes, modes=modes, **family.options)


def check_shipped_models(
    types: Iterable[str] = (), *, dtypes: Sequence[str] = DTYPES, modes: bool = True
) -> list[ModelReport]:
    """Check the models of :mod:`jaxmore.models`, each in a small size.

    Args:
        types: which, by the ``--type`` of the command line; all of them without one.
        dtypes: the narrower dtypes to check in, beside float64.
        modes: as in :func:`jaxmore.testing.check_rule`.

    Returns:
        A report for each model, right or wrong.

    Raises:
        InputError: no such model or dtype.
    """
    types = list(types) or list(MODELS)
    for type in types:
        if type not in MODELS:
            raise InputError(f"no model {type!r}; there are {', '.join(MODELS)}")
    _check_dtypes(dtypes)
    return [_check_model(type, dtypes, modes) for type in types]


def _check_model(type: str, dtypes: Sequence[str], modes: bool) -> ModelReport:
    options = {k: v for k, v in SMALL.items() if k in model_options(type)}
    model = MODELS[type].make(N_VOCAB, **options)
    (x,) = map(jnp.asarray, parse_args(f"i[7,{SMALL['block_size']}]<{N_VOCAB}"))
    logits = jax.eval_shape(lambda key: model.fwd(model.init(key), x)[0], jax.random.key(0))
    shape = ",".join(map(str, logits.shape[:-1]))
    (y,) = parse_args(f"i[{shape}]=-1..{N_VOCAB}", seed=1)
    return examine_model(model, x, y, name=type, dtypes=dtypes, modes=modes)


def check_named_rule(
    spec: str, arguments: str, *, dtypes: Sequence[str] = DTYPES, seed: int = 0, **options: Any
) -> Report:
    """Check a stranger's rule: ``jaxmore check my_module:my_fwd,my_bwd --args 'f[5,3] f[3]'``.

    Args:
        spec: see :func:`load_rule`.
        arguments: see :func:`parse_args`.
        dtypes: the narrower dtypes to check in, beside float64.
        seed: of the arguments and cotangents.
        **options: keyword options of the rule.

    Returns:
        The report, whether the rule is right or wrong.

    Raises:
        InputError: no such module, function or dtype; arguments that cannot be read, that the
            forward refuses, or on which there is nothing to check.
    """
    fwd, bwd = load_rule(spec)
    args = parse_args(arguments, seed=seed)
    _check_dtypes(dtypes)
    try:
        return examine(fwd, bwd, *args, dtypes=dtypes, seed=seed, **options)
    except Exception as error:  # the forward is a stranger's: whatever it raises
        line = str(error).split("\n", 1)[0]
        raise InputError(f"{spec} on {arguments!r}: {type(error).__name__}: {line}") from error


def load_rule(spec: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The forward and backward functions that ``module:fwd,bwd`` or ``file.py:fwd,bwd`` names.

    ``module:name`` alone stands for ``module:name_fwd,name_bwd``. The module is imported, from
    the current folder too.

    Raises:
        InputError: no such module, file or function.
    """
    module_name, colon, functions = spec.partition(":")
    if not colon or not module_name or not functions:
        raise InputError(f"{spec!r} names no rule; write my_module:my_fwd,my_bwd")
    fwd, comma, bwd = functions.partition(",")
    if not comma:
        fwd, bwd = f"{functions}_fwd", f"{functions}_bwd"
    path = Path(module_name)
    folder = str((path.parent if path.suffix == ".py" else Path()).resolve())
    sys.path.insert(0, folder)
    try:
        module = _from_file(path) if path.suffix == ".py" else importlib.import_module(module_name)
    except Exception as error:  # whatever a stranger's module raises
        line = str(error).split("\n", 1)[0]
        raise InputError(f"cannot import {path}: {type(error).__name__}: {line}") from error
    finally:
        sys.path.remove(folder)
    for name in (fwd, bwd):
        if not callable(getattr(module, name, None)):
            raise InputError(f"{path} has no function {name!r}")
    return getattr(module, fwd), getattr(module, bwd)


def _from_file(path: Path) -> ModuleType:
    # Not by its name: the file may be called as some module that is loaded already.
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _check_dtypes(dtypes: Sequence[str]) -> None:
    for dtype in dtypes:
        if dtype not in DTYPES:
            raise InputError(f"no dtype {dtype!r} to check in; there are {', '.join(DTYPES)}")
