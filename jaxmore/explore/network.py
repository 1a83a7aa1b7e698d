"""The notebooks' network as programs for the page: forward, backward, SGD step, sampling."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxmore.explore.mistakes import MISTAKES, backward_with
from jaxmore.explore.program import Program, export
from jaxmore.models import mlp_bn
from jaxmore.ninja.stepwise import Cotangents, Intermediates, Parameters, backward, forward

N_SAMPLES = 8
"""How many names the page makes at once."""


def sgd(params: Parameters, grads: Parameters, lr: Float[Array, ""]) -> Parameters:
    """Take one step of gradient descent."""
    return jax.tree.map(lambda param, grad: param - lr * grad, params, grads)


def parameter_shapes(
    n_vocab: int, block_size: int, n_embd: int, n_embd2: int, dtype: str
) -> Parameters:
    """The shapes of the seven parameters, for tracing."""

    def of(*shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype)

    return Parameters(
        C=of(n_vocab, n_embd),
        W1=of(block_size * n_embd, n_embd2),
        b1=of(n_embd2),
        W2=of(n_embd2, n_vocab),
        b2=of(n_vocab),
        bngain=of(1, n_embd2),
        bnbias=of(1, n_embd2),
    )


def export_network(params: Parameters, batch_size: int, block_size: int) -> dict[str, Any]:
    """Export every program that the page needs for a network of one size.

    Args:
        params: arrays, or only their shapes; they set the dtype of the programs.
        batch_size: B, at least 2.
        block_size: T.

    Returns:
        The programs "forward", "backward", "update" and "sample", and under "mistakes" one
        backward pass for each entry of :data:`~jaxmore.explore.mistakes.MISTAKES`.
    """
    X = jax.ShapeDtypeStruct((batch_size, block_size), jnp.int32)
    Y = jax.ShapeDtypeStruct((batch_size,), jnp.int32)
    values = jax.eval_shape(forward, params, X, Y)
    lr = jax.ShapeDtypeStruct((), params.C.dtype)
    contexts = jax.ShapeDtypeStruct((N_SAMPLES, block_size), jnp.int32)
    statistics = values.bnmeani, values.bnvar
    return {
        "forward": export(forward, params, X, Y),
        "backward": export(backward, params, X, Y, values),
        "update": export(sgd, params, params, lr),
        "sample": export(next_probs, params, *statistics, contexts),
        "mistakes": {
            key: export(backward_with(mistake), params, X, Y, values)
            for key, mistake in MISTAKES.items()
        },
    }


def next_probs(
    params: Parameters,
    mean: Float[Array, "1 H"],
    var: Float[Array, "1 H"],
    X: Int[Array, "B T"],
) -> Float[Array, "B V"]:
    """Compute the probabilities of the next character, given BatchNorm's statistics."""
    n_vocab, n_embd = params.C.shape
    n_embd2 = params.bngain.shape[1]
    model = mlp_bn(n_vocab, block_size=X.shape[1], n_embd=n_embd, n_embd2=n_embd2)
    stats = {"norm": {"mean": mean[0], "var": var[0]}}
    tree: Any = {
        "embedding": {"weight": params.C},
        "hidden": {"weight": params.W1},
        "norm": {"gain": params.bngain[0], "bias": params.bnbias[0]},
        "head": {"weight": params.W2, "bias": params.b2},
    }
    if params.b1 is not None:
        tree["hidden"]["bias"] = params.b1
    stats |= {key: {} for key in ("embedding", "flatten", "hidden", "act", "head")}
    tree |= {key: {} for key in ("flatten", "act")}
    return jax.nn.softmax(model.apply(tree, stats, X))


NAMES = {
    "params": Parameters._fields,
    "values": Intermediates._fields,
    "cotangents": Cotangents._fields,
}
"""The names of the programs' inputs and outputs, in order."""

__all__ = ["NAMES", "N_SAMPLES", "Program", "export_network", "next_probs", "parameter_shapes"]
