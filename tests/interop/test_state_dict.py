"""The parameter map: there and back bit for bit, and what is no state dict of makemore.py's."""

from typing import Any

import jax
import numpy as np
import pytest

from jaxmore.errors import InputError
from jaxmore.interop import from_makemore, to_makemore
from jaxmore.interop.state_dict import BLOCK, PARAMETERS, SIGNATURES
from jaxmore.layers import Tree, by_path
from jaxmore.models import MODELS
from tests.interop.sizes import TYPES, T, V, weights
from tests.refusals import only_line


def assert_same_bits(actual: Tree, expected: Tree) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for path, leaf in by_path(expected).items():
        assert np.asarray(by_path(actual)[path]).tobytes() == leaf.tobytes(), path


@pytest.mark.parametrize(
    ("type", "sizes"),
    [
        *((type, {}) for type in TYPES),
        ("transformer", {"n_layer": 1, "n_head": 1}),
        ("transformer", {"n_layer": 11, "n_head": 6}),  # h.10 does not come after h.1
        ("mlp", {"block_size": 1, "n_embd": 1, "n_embd2": 1}),
        ("gru", {"n_embd": 1, "n_embd2": 1}),
    ],
)
def test_to_makemore_and_back(type: str, sizes: dict[str, int]) -> None:
    options, params = weights(type, **sizes)
    tensors = to_makemore(type, options, params)
    converted = from_makemore(tensors, n_head=options.get("n_head", 4))
    assert converted[:3] == (type, V, options)
    assert_same_bits(converted.params, params)
    again = to_makemore(type, converted.options, converted.params)
    assert list(again) == list(tensors)
    assert all(again[name].tobytes() == tensors[name].tobytes() for name in tensors)


@pytest.mark.parametrize("type", TYPES)
def test_the_table_names_every_parameter_once(type: str) -> None:
    options = {"n_layer": 1} if type == "transformer" else {}
    shapes = jax.eval_shape(MODELS[type].make(V, **options).init, jax.random.key(0))
    named = [parameter.ours for parameter in PARAMETERS[type]]
    if type == "transformer":
        named += [f"blocks.0.{parameter.ours}" for parameter in BLOCK]
    assert sorted(named) == sorted(by_path(shapes))
    assert TYPES == list(PARAMETERS) == list(SIGNATURES)
    assert [
        other for other in TYPES if SIGNATURES[type] in {p.theirs for p in PARAMETERS[other]}
    ] == [type]


def test_types_that_makemore_does_not_have() -> None:
    with pytest.raises(
        InputError, match=r"cannot convert mlp-bn to a model\.pt, only bigram, mlp,"
    ):
        to_makemore("mlp-bn", {}, {})


def broken(tensors: dict[str, np.ndarray], name: str, value: np.ndarray | None) -> Any:
    return {k: v for k, v in (tensors | {name: value}).items() if v is not None}


@pytest.mark.parametrize(
    ("type", "name", "value", "message"),
    [
        ("bigram", "logits", None, "none of the models that can be converted"),
        ("bigram", "extra", np.ones(1), "unknown 'extra'"),
        ("bigram", "logits", np.ones((V, V)), "logits is float64"),
        ("bigram", "logits", np.ones((V, V), np.float16), "logits is float16"),
        ("bigram", "logits", np.ones((V, 2), "f4"), r"float32 \(14, 2\), expected .*\(14, 14\)"),
        ("bigram", "logits", np.ones(V, "f4"), "no matrix 'logits'"),
        ("bigram", "logits", np.ones((0, 0), "f4"), "no matrix 'logits'"),
        ("bigram", "logits", np.full((V, V), np.inf, "f4"), "NaN or infinity"),
        ("mlp", "wte.weight", None, "no matrix 'wte.weight'"),
        ("mlp", "wte.weight", np.ones((V + 1, 4), "f4"), "no multiple of 4"),
        ("mlp", "wte.weight", np.ones((1, 6), "f4"), "expected"),
        ("mlp", "mlp.2.bias", None, "no 'mlp.2.bias'"),
        ("bow", "context_block.cbow.bias", None, "no 'context_block.cbow.bias'"),
        ("bow", "context_block.cbow.bias", np.ones((1, T, T), "f4"), "not the causal mask"),
        ("bow", "context_block.cbow.bias", np.ones(3, "f4"), "not the causal mask of 5"),
        ("bow", "wpe.weight", np.ones((10**6, 6), "f4"), "mask of 1000000 places"),
        ("rnn", "start", np.ones((2, 7), "f4"), r"start .*\(2, 7\), expected float32 \(1, 7\)"),
        ("rnn", "cell.xh_to_h.weight", np.ones((13, 7), "f4"), r"expected float32 \(7, 13\)"),
        ("gru", "cell.xh_to_r.bias", np.ones(8, "f4"), r"cell\.xh_to_r\.bias"),
        ("lstm", "start", np.ones((1, 7), "f4"), "start"),
        ("transformer", "transformer.h.1.ln_1.weight", None, r"unknown 'transformer\.h\.1\."),
        ("transformer", "transformer.h.0.ln_1.weight", None, r"unknown 'transformer\.h\.0\."),
        ("transformer", "lm_head.bias", np.ones(V, "f4"), "unknown 'lm_head.bias'"),
    ],
)
def test_state_dicts_that_are_not_makemores(
    type: str, name: str, value: np.ndarray | None, message: str
) -> None:
    tensors = to_makemore(type, *weights(type))
    with pytest.raises(InputError, match=message) as error:
        from_makemore(broken(tensors, name, value), n_head=3)
    only_line(error)


def test_heads_that_do_not_divide_the_embedding() -> None:
    tensors = to_makemore("transformer", *weights("transformer"))
    with pytest.raises(InputError, match="not a multiple of n_head 4"):
        from_makemore(tensors)
