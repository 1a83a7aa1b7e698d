"""Inference over whole splits: BatchNorm's calibration and the exact mean loss.

The 182,625 training windows of the names hold 5,438 distinct contexts. Without dropout, equal
contexts have equal logits. A sum over windows is therefore a sum over distinct contexts, each
weighted by how often it occurs: the same number for a thirtieth of the work.
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
"""Limits on the targets and the logits per jitted call of :func:`mean_loss`. They bound its memory
for every split and vocabulary, and let one compilation serve every split."""


def calibrate(model: Layer, params: Tree, X: Int[np.ndarray, "n T"]) -> Tree:
    """Compute the statistics that inference needs from all the data at once.

    They are exact: the mean and the unbiased variance over every example, at any depth, rather
    than running averages over noisy batches (notebook 001: "calibrate the batch norm at the end").

    Args:
        model: ids to logits.
        params: its trained parameters.
        X: all training inputs, on the host.

    Returns:
        The statistics, for ``model.apply`` and ``model.step``.
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
    """Compute the exact mean loss over every target of a split that is not −1.

    Args:
        model: ids to logits.
        params: its parameters.
        stats: its statistics, from :func:`calibrate`.
        X: inputs, on the host.
        Y: targets, on the host: (n,) for windows, (n, T) for sequences.

    Returns:
        The mean in nats per target.

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


# Only used for its output shape; going through jit traces the model once.
@partial(jax.jit, static_argnums=0)
def _logits(model: Layer, params: Tree, stats: Tree, X: Int[Array, "B T"]) -> Float[Array, "B ..."]:
    return model.apply(params, stats, X)


@partial(jax.jit, static_argnums=0)
def _total_loss(
    model: Layer, params: Tree, stats: Tree, X: Int[Array, "B T"], Y: Num[Array, "B ..."]
) -> Float[Array, ""]:
    """Compute −Σ counts · log p. ``Y`` holds targets, or how often each id follows a context."""
    logits = widen(model.apply(params, stats, X))
    shifted = logits - max_keepdims(logits)
    logprobs = shifted - jnp.log(jnp.exp(shifted).sum(-1, keepdims=True))
    is_counts = jnp.issubdtype(Y.dtype, jnp.floating)
    counts = Y if is_counts else jax.nn.one_hot(Y, logprobs.shape[-1], dtype=logprobs.dtype)
    return -(counts * logprobs).sum(-1).sum()  # two sums: shorter sums round less


def _windows(
    X: Int[np.ndarray, "n T"], Y: Int[np.ndarray, " n"], rows: int, vocab_size: int
) -> Iterator[tuple[Int[np.ndarray, "rows T"], Float[np.ndarray, "rows V"]]]:
    """Yield blocks of distinct contexts with the number of times that each id follows them.

    The last block is filled up with contexts that never occur.
    """
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
    """Yield blocks of sequences and targets; the last one is filled up with ignored targets."""
    for start in range(0, len(X), rows):
        block = slice(start, start + rows)
        yield _filled(X[block], rows, 0), _filled(Y[block], rows, -1)


def _filled(x: Int[np.ndarray, "b T"], rows: int, value: int) -> Int[np.ndarray, "rows T"]:
    return np.pad(x, ((0, rows - len(x)), (0, 0)), constant_values=value)


def distinct_rows(
    X: Int[np.ndarray, "n T"],
) -> tuple[Int[np.ndarray, "D T"], Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Find the distinct rows of X.

    Each row is read as the digits of one number. ``np.unique(X, axis=0)`` gives the same result, a
    hundred times slower.

    Returns:
        The distinct rows; an order of the rows of X that brings equal ones together; and, in that
        order, the index of each row among the distinct ones.
    """
    low = int(X.min(initial=0))
    base = int(X.max(initial=0)) - low + 1
    number, most = np.zeros(len(X), np.int64), 1
    for column in X.T:
        if most > np.iinfo(np.int64).max // base:  # it would overflow: replace it by its rank
            _, number = np.unique(number, return_inverse=True)
            most = len(X)
        number = number * base + (column - low)
        most *= base
    number = number.astype(np.min_scalar_type(most))  # NumPy sorts 16-bit numbers ten times as fast
    order = np.argsort(number, kind="stable")
    number = number[order]
    new = np.append(True, number[1:] != number[:-1])
    return X[order[new]], order, np.cumsum(new) - 1
