"""Check the rules and models of jaxmore on arguments that expose common mistakes."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmore import rules
from jaxmore.errors import InputError
from jaxmore.models import MODELS, model_options
from jaxmore.testing.arguments import parse_args
from jaxmore.testing.case import DTYPES, check_dtypes
from jaxmore.testing.model import ModelReport, examine_model
from jaxmore.testing.report import Report
from jaxmore.testing.rule import examine


class Family(NamedTuple):
    """The arguments and options of one check of a rule; see :func:`parse_args`."""

    arguments: str
    options: dict[str, Any] = {}  # noqa: RUF012 -- never changed


_CELL = "f[*B,E] f[*B,H]"
_NORM = ("f[*B,E] f[E] f[E]", "f[5,3]*1e-3+2 f[3] f[3]", "f[5,3]*1e3 f[3] f[3]")

N_VOCAB = 5
SMALL = {"block_size": 4, "n_embd": 4, "n_embd2": 6, "n_layer": 2, "n_head": 2}
"""The options that make a model small; each model takes those that it has."""

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
    "flatten": (Family("f[*B,7,E]", {"block_size": 7}), Family("f[1,1]", {"block_size": 1})),
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
        Family("f[5,3] none"),
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
"""The families of arguments of each rule. The first is generic: leading axes, distinct sizes,
repeated ids, ignored targets. Sizes of 1, large and tiny values, and tails follow."""


def check_shipped_rules(
    names: Iterable[str] = (),
    *,
    dtypes: Sequence[str] = DTYPES,
    every_family: bool = False,
) -> list[Report]:
    """Check the rules of :mod:`jaxmore.rules`.

    Args:
        names: the rules; all of them if empty.
        dtypes: the narrower dtypes to check in, besides float64.
        every_family: whether to check on all of :data:`FAMILIES` instead of the first.

    Returns:
        A report for each rule and family, right or wrong.

    Raises:
        InputError: if there is no such rule or dtype.
    """
    names = list(names) or list(FAMILIES)
    for name in names:
        if name not in FAMILIES:
            raise InputError(f"no rule {name!r}; there are {', '.join(FAMILIES)}")
    check_dtypes(dtypes)
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
        types: the models, by their ``--type`` on the command line; all of them if empty.
        dtypes: the narrower dtypes to check in, besides float64.
        modes: as in :func:`jaxmore.testing.check_rule`.

    Returns:
        A report for each model, right or wrong.

    Raises:
        InputError: if there is no such model or dtype.
    """
    types = list(types) or list(MODELS)
    for type in types:
        if type not in MODELS:
            raise InputError(f"no model {type!r}; there are {', '.join(MODELS)}")
    check_dtypes(dtypes)
    return [_check_model(type, dtypes, modes) for type in types]


def _check_model(type: str, dtypes: Sequence[str], modes: bool) -> ModelReport:
    options = {k: v for k, v in SMALL.items() if k in model_options(type)}
    model = MODELS[type].make(N_VOCAB, **options)
    (x,) = map(jnp.asarray, parse_args(f"i[7,{SMALL['block_size']}]<{N_VOCAB}"))
    logits = jax.eval_shape(lambda key: model.fwd(model.init(key), x)[0], jax.random.key(0))
    shape = ",".join(map(str, logits.shape[:-1]))
    (y,) = parse_args(f"i[{shape}]=-1..{N_VOCAB}", seed=1)
    return examine_model(model, x, y, name=type, dtypes=dtypes, modes=modes)
