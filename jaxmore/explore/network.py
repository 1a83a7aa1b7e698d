"""The notebooks' network as programs for the page: forward, backward, the SGD step, inference."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxmore.explore.export import Program, export
from jaxmore.ninja.stepwise import Cotangents, Intermediates, Parameters, backward, forward

NAMES = Parameters._fields


class Sizes(NamedTuple):
    """Examples, context, vocabulary, embedding, hidden: what a program is traced for."""

    B: int
    T: int
    V: int
    E: int
    H: int


def shapes(sizes: Sizes, dtype: str = "float64") -> tuple[Parameters, Any, Any]:
    """The shapes of the parameters, the contexts and the targets."""
    B, T, V, E, H = sizes

    def array(*shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, jnp.dtype(dtype))

    params = Parameters(
        C=array(V, E),
        W1=array(T * E, H),
        b1=array(H),
        W2=array(H, V),
        b2=array(V),
        bngain=array(1, H),
        bnbias=array(1, H),
    )
    ids = partial(jax.ShapeDtypeStruct, dtype=jnp.int32)
    return params, ids((B, T)), ids((B,))


def sgd_step(params: Parameters, grads: Parameters, learning_rate: Float[Array, ""]) -> Parameters:
    """One step of plain gradient descent."""
    return jax.tree.map(lambda p, dp: p - learning_rate * dp, params, grads)


def infer(
    params: Parameters,
    X: Int[Array, "B T"],
    bnmeani: Float[Array, "1 H"],
    bnvar_inv: Float[Array, "1 H"],
) -> Float[Array, "B V"]:
    """The logits with given statistics in the place of the batch's own: what sampling needs."""
    hprebn = params.C[X].reshape(X.shape[0], -1) @ params.W1
    if params.b1 is not None:
        hprebn = hprebn + params.b1
    h = jnp.tanh(params.bngain * (hprebn - bnmeani) * bnvar_inv + params.bnbias)
    return h @ params.W2 + params.b2


def forward_program(sizes: Sizes, dtype: str = "float64") -> Program:
    """``stepwise.forward`` as a program; its outputs are the intermediates and the loss."""
    with jax.enable_x64(dtype == "float64"):
        return export(forward, shapes(sizes, dtype), [*NAMES, "X", "Y"], Intermediates._fields)


def backward_program(sizes: Sizes, dtype: str = "float64") -> Program:
    """``stepwise.backward`` as a program.

    Its inputs are the parameters, the batch and the forward program's outputs; its outputs the
    cotangents, each under the name of its variable with a d in front.
    """
    with jax.enable_x64(dtype == "float64"):
        args = shapes(sizes, dtype)
        values = jax.eval_shape(forward, *args)
        inputs = [*NAMES, "X", "Y", *Intermediates._fields]
        outputs = [f"d{name}" for name in Cotangents._fields]
        return export(backward, (*args, values), inputs, outputs)


def sgd_program(sizes: Sizes, dtype: str = "float64") -> Program:
    """:func:`sgd_step` as a program of parameters, cotangents and the learning rate."""
    with jax.enable_x64(dtype == "float64"):
        params, *_ = shapes(sizes, dtype)
        rate = jax.ShapeDtypeStruct((), params.C.dtype)
        inputs = [*NAMES, *(f"d{name}" for name in NAMES), "learning_rate"]
        return export(sgd_step, (params, params, rate), inputs, NAMES)


def inference_program(sizes: Sizes, dtype: str = "float64") -> Program:
    """:func:`infer` as a program; its output is ``logits``."""
    with jax.enable_x64(dtype == "float64"):
        params, X, _ = shapes(sizes, dtype)
        of_batch = params.bngain
        inputs = [*NAMES, "X", "bnmeani", "bnvar_inv"]
        return export(infer, (params, X, of_batch, of_batch), inputs, ["logits"])
