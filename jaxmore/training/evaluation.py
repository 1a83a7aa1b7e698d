"""Inference over whole splits: BatchNorm's calibration and the exact mean loss.

The 182,625 training windows of the names hold 5,438 distinct contexts. Without dropout equal
contexts have equal logits, so a sum over windows is a sum over distinct contexts, weighted by how
often each occurs: the same number for a thirtieth of the work.
"""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from jaxmore.errors import InputError
from jaxmore.layers import Layer, Tree
from jaxmore.rules._precision import widen
from jaxmore.rules._reductions import max_keepdims

TARGETS, LOGITS = 4096, 2**26
"""At most so many places, and so many logits, per jitted call of :func:`mean_loss`: memory stays
bounded whatever the split and the vocabulary, and one compilation serves every split."""


def calibrate(model: Layer, params: Tree, X: Int[np.ndarray, "n T"]) -> Tree:
    """The statistics that inference needs, of all the data at once.

    They are exact: not running averages over noisy batches, but the mean and the unbiased
    variance over every example, at any depth (seed 001: "calibrate the batch norm at the end").

    Args:
        model: ids to logits.
        params: its trained parameters.
        X: all training inputs, on the host.

    Returns:
        The model's statistics, for ``model.apply`` and ``model.step``.
    """
    distinct, _, which = distinct_rows(X)
    return _calibrate(
        model, params, jnp.array(distinct), jnp.array(np.bincount(which), jnp.float32)
    )


@partial(jax.jit, static_argnums=0)
def _calibrate(
    model: Layer, params: Tree, X: Int[Array, "D T"], counts: Float[Array, " D"]
) -> Tree:
    return model.calibrate(params, X, counts)[1]


def mean_loss(
    model: Layer,
    params: Tree,
    stats: Tree,
    X: Int[np.ndarray, "n T"],
    Y: Int[np.ndarray, "n ..."],
) -> float:
    """The mean loss over every target of a split that is not −1: exact, no sampling.

    Args:
        model: ids to logits.
        params: its parameters.
        stats: of :func:`calibrate`.
        X: inputs, on the host.
        Y: targets, on the host: (n,) of windows, or (n, T) of sequences.

    Returns:
        The mean in nats per target; each target weighs the same whatever the call it falls in.

    Raises:
        InputError: no example has a target.
    """
    n_targets = int((Y != -1).sum())
    if not n_targets:
        raise InputError("there is nothing to evaluate: no example has a target")
    one = jax.ShapeDtypeStruct((1, X.shape[1]), jax.dtypes.canonicalize_dtype(X.dtype))
    logits = _logits.eval_shape(model, params, stats, one)
    rows = max(1, min(TARGETS // Y[0].size, LOGITS // logits.size))
    blocks = _windows(X, Y, rows, logits.shape[-1]) if Y.ndim == 1 else _sequences(X, Y, rows)
    losses = [_total_loss(model, params, stats, jnp.array(x), jnp.array(y)) for x, y in blocks]
    return sum(map(float, losses)) / n_targets


@partial(jax.jit, static_argnums=0)  # of its shape alone is made use: jit traces a model once
def _logits(model: Layer, params: Tree, stats: Tree, X: Int[Array, "B T"]) -> Float[Array, "B ..."]:
    return model.apply(params, stats, X)


@partial(jax.jit, static_argnums=0)
def _total_loss(
    model: Layer, params: Tree, stats: Tree, X: Int[Array, "B T"], Y: Num[Array, "B ..."]
) -> Float[Array, ""]:
    """−Σ counts · log p. ``Y`` holds targets, or how often each id follows a context."""
    logits = widen(model.apply(params, stats, X))
    shifted = logits - max_keepdims(logits)
    logprobs = shifted - jnp.log(jnp.exp(shifted).sum(-1, keepdims=True))
    is_counts = jnp.issubdtype(Y.dtype, jnp.floating)
    counts = Y if is_counts else jax.nn.one_hot(Y, logprobs.shape[-1], dtype=logprobs.dtype)
    return -(counts * logprobs).sum(-1).sum()  # in two steps: short sums lose fewer digits


def _windows(
    X: Int[np.ndarray, "n T"], Y: Int[np.ndarray, " n"], rows: int, vocab_size: int
) -> Iterator[tuple[Int[np.ndarray, "rows T"], Float[np.ndarray, "rows V"]]]:
    """Blocks of distinct contexts, and how often each id follows them; the rest never occurs."""
    distinct, order, which = distinct_rows(X)
    targets = Y[order]
    which, targets = which[targets != -1], targets[targets != -1]
    for start in range(0, len(distinct), rows):
        first, last = np.searchsorted(which, (start, start + rows))
        pairs = (which[first:last] - start) * vocab_size + targets[first:last]
        counts = np.bincount(pairs, minlength=rows * vocab_size).reshape(rows, vocab_size)
        yield _filled(distinct[start : start + rows], rows, 0), counts.astype(np.float32)


def _sequences(
    X: Int[np.ndarray, "n T"], Y: Int[np.ndarray, "n T"], rows: int
) -> Iterator[tuple[Int[np.ndarray, "rows T"], Int[np.ndarray, "rows T"]]]:
    """Blocks of sequences and their targets, the last one filled up with targets to ignore."""
    for start in range(0, len(X), rows):
        block = slice(start, start + rows)
        yield _filled(X[block], rows, 0), _filled(Y[block], rows, -1)


def _filled(x: Int[np.ndarray, "b T"], rows: int, value: int) -> Int[np.ndarray, "rows T"]:
    return np.pad(x, ((0, rows - len(x)), (0, 0)), constant_values=value)


def distinct_rows(
    X: Int[np.ndarray, "n T"],
) -> tuple[Int[np.ndarray, "D T"], Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """The distinct rows; an order that brings equal rows together; which row each then is.

    A row is read as the digits of one number. np.unique(X, axis=0) would tell the same, a hundred
    times slower.
    """
    low = int(X.min(initial=0))
    base = int(X.max(initial=0)) - low + 1
    number, most = np.zeros(len(X), np.int64), 1
    for column in X.T:
        if most > np.iinfo(np.int64).max // base:  # too long: the number's rank will do
            _, number = np.unique(number, return_inverse=True)
            most = len(X)
        number = number * base + (column - low)
        most *= base
    number = number.astype(np.min_scalar_type(most))  # NumPy sorts 16 bits ten times as fast
    order = np.argsort(number, kind="stable")
    number = number[order]
    new = np.append(True, number[1:] != number[:-1])
    return X[order[new]], order, np.cumsum(new) - 1
