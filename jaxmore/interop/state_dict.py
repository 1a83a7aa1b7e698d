"""Map makemore.py's state dicts to the parameters of our models, and back.

makemore.py saves `model.state_dict()` as model.pt, which holds tensors and nothing else. The values
are the same on both sides, bit for bit. A weight of `nn.Linear` is transposed: (out, in) there,
(in, out) here. The causal masks that makemore.py stores beside the weights are checked when a state
dict is read and created when one is written.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from jaxmore.errors import InputError
from jaxmore.layers import Tree, by_path
from jaxmore.models import MODELS

__all__ = ["MakemoreModel", "from_makemore", "to_makemore"]

Tensors = Mapping[str, npt.NDArray[Any]]


class Parameter(NamedTuple):
    """One array: its name in makemore.py's state dict and its path in our parameters."""

    theirs: str
    ours: str
    transposed: bool = False


def _linear(theirs: str, ours: str) -> list[Parameter]:
    return [
        Parameter(f"{theirs}.weight", f"{ours}.weight", transposed=True),
        Parameter(f"{theirs}.bias", f"{ours}.bias"),
    ]


def _layer_norm(theirs: str, ours: str) -> list[Parameter]:
    return [
        Parameter(f"{theirs}.weight", f"{ours}.gain"),
        Parameter(f"{theirs}.bias", f"{ours}.bias"),
    ]


def _recurrent(*cell: Parameter) -> list[Parameter]:
    return [
        Parameter("start", "hidden.start"),
        Parameter("wte.weight", "embedding.weight"),
        *cell,
        *_linear("lm_head", "head"),
    ]


PARAMETERS: dict[str, list[Parameter]] = {
    "bigram": [Parameter("logits", "logits.weight")],
    "mlp": [
        Parameter("wte.weight", "embedding.weight"),
        *_linear("mlp.0", "hidden"),
        *_linear("mlp.2", "head"),
    ],
    "bow": [
        Parameter("wte.weight", "embedding.token.weight"),
        Parameter("wpe.weight", "embedding.position.weight"),
        *_linear("context_block.mlp.c_fc", "mlp.hidden"),
        *_linear("context_block.mlp.c_proj", "mlp.proj"),
        *_linear("lm_head", "head"),
    ],
    "rnn": _recurrent(*_linear("cell.xh_to_h", "hidden.cell")),
    "gru": _recurrent(
        *_linear("cell.xh_to_z", "hidden.cell.update"),
        *_linear("cell.xh_to_r", "hidden.cell.reset"),
        *_linear("cell.xh_to_hbar", "hidden.cell.candidate"),
    ),
    # makemore.py has no LSTM; the names follow those of its other cells.
    "lstm": _recurrent(*_linear("cell.xh_to_ifgo", "hidden.cell")),
    "transformer": [
        Parameter("transformer.wte.weight", "embedding.token.weight"),
        Parameter("transformer.wpe.weight", "embedding.position.weight"),
        *_layer_norm("transformer.ln_f", "norm"),
        Parameter("lm_head.weight", "head.weight", transposed=True),
    ],
}
"""The parameters of each type of makemore.py; a transformer has :data:`BLOCK` besides."""

BLOCK = [
    *_layer_norm("ln_1", "attention.norm"),
    *_linear("attn.c_attn", "attention.qkv"),
    *_linear("attn.c_proj", "attention.proj"),
    *_layer_norm("ln_2", "mlp.norm"),
    *_linear("mlp.c_fc", "mlp.hidden"),
    *_linear("mlp.c_proj", "mlp.proj"),
]
"""One block of the transformer: transformer.h.i in makemore.py, blocks.i in our parameters."""

SIGNATURES = {
    "bigram": "logits",
    "mlp": "mlp.0.weight",
    "bow": "context_block.mlp.c_fc.weight",
    "rnn": "cell.xh_to_h.weight",
    "gru": "cell.xh_to_z.weight",
    "lstm": "cell.xh_to_ifgo.weight",
    "transformer": "transformer.wte.weight",
}
"""A name that only the state dicts of this type have."""


class MakemoreModel(NamedTuple):
    """A model that a state dict of makemore.py describes; the state dict has no vocabulary."""

    type: str
    vocab_size: int
    options: dict[str, int]
    params: Tree


def to_makemore(
    type: str, options: Mapping[str, int], params: Tree
) -> dict[str, npt.NDArray[np.float32]]:
    """Make the state dict of makemore.py for a model of ours.

    Args:
        type: the model's type, a key of `PARAMETERS`.
        options: the model's options, as `MODELS` takes them.
        params: the model's parameters, float32.

    Returns:
        float32 arrays by makemore.py's names, weights (out, in), masks included. makemore.py has no
        LSTM: its names follow those of the GRU.

    Raises:
        InputError: makemore.py has no such type.
    """
    if type not in PARAMETERS:
        raise InputError(f"cannot convert {type} to a model.pt, only {', '.join(PARAMETERS)}")
    arrays, n_layer = by_path(params), options.get("n_layer", 0)
    state: dict[str, npt.NDArray[np.float32]] = {}
    for parameter in _parameters(type, n_layer):
        array = np.asarray(arrays[parameter.ours], np.float32)
        state[parameter.theirs] = array.T if parameter.transposed else array
    for name, shape in _masks(type, n_layer, options.get("block_size", 0)).items():
        state[name] = np.tril(np.ones(shape, np.float32))
    return state


def from_makemore(tensors: Tensors, *, n_head: int = 4) -> MakemoreModel:
    """Make our parameters from a state dict of makemore.py; the inverse of `to_makemore`.

    Args:
        tensors: arrays by makemore.py's names; the type and the sizes follow from them.
        n_head: N of a transformer, the one size that does not follow from the arrays.

    Returns:
        The type, the size of its vocabulary, its options and its parameters.

    Raises:
        InputError: they are not the arrays of one of makemore.py's models.
    """
    type = next((type for type, name in SIGNATURES.items() if name in tensors), None)
    if type is None:
        raise InputError(f"none of the models that can be converted ({', '.join(PARAMETERS)})")
    n_layer = 0
    while f"transformer.h.{n_layer}.ln_1.weight" in tensors:
        n_layer += 1
    vocab_size, options = _sizes(type, tensors)
    if type == "transformer":
        options |= {"n_layer": n_layer, "n_head": n_head}
    parameters = _parameters(type, n_layer)
    masks = _masks(type, n_layer, options.get("block_size", 0))
    if odd := tensors.keys() ^ {*(parameter.theirs for parameter in parameters), *masks}:
        which = "has no" if min(odd) not in tensors else "has an unknown"
        raise InputError(f"this {type} {which} {min(odd)!r}")
    try:
        template = jax.eval_shape(MODELS[type].make(vocab_size, **options).init, jax.random.key(0))
    except ValueError as error:  # heads that do not divide the embedding
        raise InputError(str(error)) from error
    arrays: dict[str, npt.NDArray[Any]] = {}
    for parameter in parameters:
        array = tensors[parameter.theirs]
        arrays[parameter.ours] = array.T if parameter.transposed else array
        shape = by_path(template)[parameter.ours].shape
        if array.dtype != np.float32 or arrays[parameter.ours].shape != shape:
            expected = shape[::-1] if parameter.transposed else shape
            raise InputError(
                f"{parameter.theirs} is {array.dtype} {array.shape}, expected float32 {expected}"
            )
        if not np.isfinite(array).all():
            raise InputError(f"{parameter.theirs} holds NaN or infinity")
    for name, shape in masks.items():
        mask = tensors[name]
        if mask.shape != shape or not np.array_equal(mask, np.tril(np.ones_like(mask))):
            raise InputError(f"{name} is not the causal mask of {shape[-1]} places")
    leaves = [jnp.array(arrays[path]) for path in by_path(template)]
    params = jax.tree.unflatten(jax.tree.structure(template), leaves)
    return MakemoreModel(type, vocab_size, options, params)


def _parameters(type: str, n_layer: int) -> list[Parameter]:
    blocks = [
        Parameter(f"transformer.h.{i}.{theirs}", f"blocks.{i}.{ours}", transposed)
        for i in range(n_layer)
        for theirs, ours, transposed in BLOCK
    ]
    return PARAMETERS[type] + blocks


def _masks(type: str, n_layer: int, block_size: int) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the causal masks in the state dict."""
    if type == "bow":
        return {"context_block.cbow.bias": (1, block_size, block_size)}
    shape = (1, 1, block_size, block_size)
    return {f"transformer.h.{i}.attn.bias": shape for i in range(n_layer)}


def _sizes(type: str, tensors: Tensors) -> tuple[int, dict[str, int]]:
    """Read V and the options off the shapes, without checking that the shapes agree."""

    def shape(name: str) -> tuple[int, int]:
        array = tensors.get(name)
        if array is None or array.ndim != 2 or not array.size:
            raise InputError(f"this {type} has no matrix {name!r}")
        return array.shape[0], array.shape[1]

    if type == "bigram":
        return shape("logits")[0], {}
    if type == "transformer":
        vocab_size, n_embd = shape("transformer.wte.weight")
        return vocab_size, {"block_size": shape("transformer.wpe.weight")[0], "n_embd": n_embd}
    vocab_size, n_embd = shape("wte.weight")
    if type == "bow":
        n_embd2 = shape("context_block.mlp.c_fc.weight")[0]
        sizes = {"block_size": shape("wpe.weight")[0], "n_embd": n_embd, "n_embd2": n_embd2}
        return vocab_size, sizes
    if type == "mlp":
        n_embd2, n_inputs = shape("mlp.0.weight")
        if n_inputs % n_embd:
            raise InputError(f"this mlp has {n_inputs} inputs, no multiple of {n_embd}")
        # Its embedding has one row more, for the BLANK before a word.
        sizes = {"block_size": n_inputs // n_embd, "n_embd": n_embd, "n_embd2": n_embd2}
        return vocab_size - 1, sizes
    return vocab_size, {"n_embd": n_embd, "n_embd2": shape("start")[1]}
