"""Mixed precision: the gradient in bfloat16, everything that is kept from step to step in float32.

The losses come from ``rules.softmax_cross_entropy``, whose sums are in float32, as are the
statistics of the normalisations and the scores of attention, whatever the dtype of the parameters.
"""

import jax
from jaxtyping import Array, Float, Int

from jaxmore.backprop import loss_and_grad
from jaxmore.layers import Layer, Tree


def loss_and_bfloat16_grad(
    model: Layer, params: Tree, x: Int[Array, "*B"], y: Int[Array, "*C"]
) -> tuple[Float[Array, ""], Tree]:
    """Compute the mean cross-entropy of a batch and its gradient, forward and backward in bfloat16.

    bfloat16 has the range of float32, so the loss needs no scaling.

    Args:
        model: maps ids to logits (*C, V).
        params: the parameters in float32, which are rounded.
        x: ids in the form that the model reads.
        y: targets (*C), −1 to ignore a position.

    Returns:
        The loss in float32, and the gradient with the dtypes of ``params``.
    """
    rounded = jax.tree.map(lambda param: param.astype("bfloat16"), params)
    loss, grads = loss_and_grad(model, rounded, x, y)
    return loss, jax.tree.map(lambda grad, param: grad.astype(param.dtype), grads, params)
