"""Inference over whole splits: BatchNorm's calibration and the exact mean loss."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxmore import rules
from jaxmore.layers import Layer, Tree

TARGETS, LOGITS = 65_536, 2**26
"""At most so many targets, and so many logits, per jitted call of :func:`mean_loss`: memory stays
bounded whatever the split and the vocabulary."""


@partial(jax.jit, static_argnums=0)
def calibrate(model: Layer, params: Tree, X: Int[Array, "n T"]) -> Tree:
    """The statistics that inference needs, of one forward pass over all the data.

    They are exact: not running averages over noisy batches, but the mean and the unbiased
    variance over every example, at any depth (seed 001: "calibrate the batch norm at the end").

    Args:
        model: ids to logits.
        params: its trained parameters.
        X: all training inputs.

    Returns:
        The model's statistics, for ``model.apply`` and ``model.step``.
    """
    _, res = model.fwd(params, X)
    return model.stats(res)


@partial(jax.jit, static_argnums=0)
def _total_loss(
    model: Layer, params: Tree, stats: Tree, X: Int[Array, "*B"], Y: Int[Array, "*C"]
) -> Float[Array, ""]:
    mean = rules.softmax_cross_entropy(model.apply(params, stats, X), Y)
    return mean * (Y != -1).sum().astype(mean.dtype)


def mean_loss(
    model: Layer,
    params: Tree,
    stats: Tree,
    X: Int[np.ndarray, "n ..."],
    Y: Int[np.ndarray, "n ..."],
) -> float:
    """The mean loss over every target of a split that is not −1: exact, no sampling.

    Args:
        model: ids to logits.
        params: its parameters.
        stats: of :func:`calibrate`.
        X: inputs, on the host.
        Y: targets, on the host.

    Returns:
        The mean in nats per target; each target weighs the same whatever the call it falls in.
    """
    total = 0.0
    one = jax.ShapeDtypeStruct((1, *X.shape[1:]), X.dtype)
    n_logits = jax.eval_shape(model.apply, params, stats, one).size
    rows = max(1, min(TARGETS // Y[0].size, LOGITS // n_logits))
    for start in range(0, len(X), rows):
        x, y = X[start : start + rows], Y[start : start + rows]
        if start:  # the last call has the shape of the others; its padding is ignored targets
            missing = rows - len(x)
            x = np.concatenate([x, np.zeros((missing, *x.shape[1:]), x.dtype)])
            y = np.concatenate([y, np.full((missing, *y.shape[1:]), -1, y.dtype)])
        total += float(_total_loss(model, params, stats, jnp.array(x), jnp.array(y)))
    return total / int((Y != -1).sum())
