"""Proposed for ``jaxmore.training.evaluation``: exact evaluation over the distinct contexts alone.

The 182,625 training windows of the names hold 5,438 distinct contexts. A model without randomness
gives equal contexts equal logits, so a sum over windows is a sum over distinct contexts, weighted
by how often each occurs: the same number, for a thirtieth of the work.
"""

from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from jaxmore.layers import BatchNorm, Chain, Layer, Tree


class Tally(NamedTuple):
    """A split of windows, each distinct context once."""

    X: Int[np.ndarray, "D T"]
    """The distinct contexts."""
    counts: Float[np.ndarray, "D V"]
    """How often each target follows each context; whole numbers."""


def tally(X: Int[np.ndarray, "n T"], Y: Int[np.ndarray, " n"], vocab_size: int) -> Tally:
    """Count the distinct contexts of a split and what follows them; once per split."""
    n_codes = vocab_size ** X.shape[1]
    if n_codes < 2**62:  # a context is a number in base V
        places = vocab_size ** np.arange(X.shape[1])
        _, first, which = np.unique(X @ places, return_index=True, return_inverse=True)
    else:
        _, first, which = np.unique(X, axis=0, return_index=True, return_inverse=True)
    counts = np.bincount(which * vocab_size + Y, minlength=len(first) * vocab_size)
    return Tally(X[first], counts.reshape(-1, vocab_size).astype(np.float32))


@partial(jax.jit, static_argnums=0)
def mean_loss(
    model: Layer, params: Tree, stats: Tree, X: Int[Array, "D T"], counts: Float[Array, "D V"]
) -> Float[Array, ""]:
    """The mean loss over all the windows of a tally: −Σ counts · log p / Σ counts."""
    logprobs = jax.nn.log_softmax(model.apply(params, stats, X))
    # Row by row first: the sum of 182,625 float32 terms one by one would lose digits.
    return -(counts * logprobs).sum(1).sum() / counts.sum(1).sum()


@partial(jax.jit, static_argnums=0)
def calibrate(
    model: Chain, params: Tree, X: Int[Array, "D T"], weights: Float[Array, " D"]
) -> Tree:
    """``evaluation.calibrate`` over distinct contexts, each as often as ``weights`` says."""
    return _calibrate(model, params, X, weights)[0]


def _calibrate(model: Layer, params: Tree, x: Array, weights: Array) -> tuple[Tree, Array]:
    stats: Tree = {}
    if isinstance(model, BatchNorm):
        n = weights.sum() * (x.size // x.shape[-1] // len(weights))
        rows, w = x.reshape(len(weights), -1, x.shape[-1]), weights[:, None, None]
        mean = (w * rows).sum((0, 1)) / n
        stats = {"mean": mean, "var": (w * (rows - mean) ** 2).sum((0, 1)) / (n - 1)}
    elif type(model) is Chain:
        for name, layer in model.layers:
            stats[name], x = _calibrate(layer, params[name], x, weights)
        return stats, x
    return stats, model.apply(params, stats, x)
