"""Any model as programs for the page: every named place and its cotangent, and the SGD step."""

from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmore.backprop import trace
from jaxmore.explore.export import Program, export
from jaxmore.layers import Layer, Tree, by_path


def trace_program(
    model: Layer,
    params: Tree,
    x: Any,
    y: Any,
    dtype: str = "float64",
) -> Program:
    """:func:`jaxmore.trace` of a model as a program.

    Its inputs are the parameters, each under its path, and ``x`` and ``y``. Its outputs are the
    value of each named place under its path ("hidden", "hidden.weight", "loss") and its cotangent
    under the same path with a d in front ("dhidden", "dhidden.weight").

    Args:
        model: ids to logits.
        params: its parameters, or their shapes.
        x: ids, as the model takes them, or their shape.
        y: targets, or their shape.
        dtype: what the program computes in, whatever the dtype of ``params``.

    Raises:
        InputError: the page cannot run one of the model's primitives.
    """
    with jax.enable_x64(dtype == "float64"):
        args = _floats(params, dtype), _ids(x), _ids(y)
        places: dict[str, Any] = jax.eval_shape(partial(trace, model), *args)
        outputs = [name for path in places for name in (path, f"d{path}")]
        return export(partial(trace, model), args, [*_paths(params), "x", "y"], outputs)


def sgd_program(params: Tree, dtype: str = "float64") -> Program:
    """One step of gradient descent as a program of parameters, cotangents and ``learning_rate``."""

    def step(params: Tree, grads: Tree, learning_rate: Float[Array, ""]) -> Tree:
        return jax.tree.map(lambda p, dp: p - learning_rate * dp, params, grads)

    with jax.enable_x64(dtype == "float64"):
        floats, paths = _floats(params, dtype), _paths(params)
        rate = jax.ShapeDtypeStruct((), jnp.dtype(dtype))
        inputs = [*paths, *(f"d{path}" for path in paths), "learning_rate"]
        return export(step, (floats, floats, rate), inputs, paths)


def _paths(params: Tree) -> list[str]:
    return list(by_path(params))


def _floats(params: Tree, dtype: str) -> Tree:
    shapes = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, jnp.dtype(dtype)), params)
    return cast(Tree, shapes)


def _ids(x: Any) -> Any:
    return jax.ShapeDtypeStruct(x.shape, jnp.int32)
