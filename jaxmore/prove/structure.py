"""Primitives that move elements, reduce and multiply matrices."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

from jaxmore.prove.cells import Cell, places
from jaxmore.prove.interpreter import Interpreter, closed, handles, real
from jaxmore.prove.residues import NotProved


def _moves(primitive: Any) -> None:
    """A primitive of one array that only moves elements: it moves their indices."""

    def handler(run: Interpreter, a: Any, *rest: Any, **params: Any) -> Any:
        index = primitive.bind(jax.numpy.asarray(places(a.real.shape)), *rest, **params)
        return a.take(np.asarray(index))

    handles(primitive.name)(handler)


for _primitive in (
    lax.reshape_p, lax.transpose_p, lax.broadcast_in_dim_p, lax.slice_p, lax.rev_p, lax.squeeze_p,
    lax.dynamic_slice_p,
):  # fmt: skip
    _moves(_primitive)


@handles("concatenate")
def _concatenate(run: Interpreter, *arrays: Any, dimension: int) -> Cell:
    joined, indices = _joined(run, arrays)
    return joined.take(np.concatenate(indices, dimension))


@handles("stack")  # of newer jax, which else concatenates
def _stack_arrays(run: Interpreter, *arrays: Any, axis: int) -> Cell:
    joined, indices = _joined(run, arrays)
    return joined.take(np.stack(indices, axis))


@handles("unstack")  # of newer jax, which else slices
def _unstack(run: Interpreter, a: Any, *, axis: int) -> list[Cell]:
    return [a.take(index) for index in np.moveaxis(places(a.real.shape), axis, 0)]


def _joined(run: Interpreter, arrays: Sequence[Any]) -> tuple[Cell, list[Any]]:
    """Return the elements of some arrays in one row, and the places of each array in it."""
    cells = [run.lift(a) for a in arrays]
    starts = np.cumsum([0, *(cell.real.size for cell in cells)])
    return run.join(cells), [s + places(c.real.shape) for s, c in zip(starts, cells, strict=False)]


@handles("split")
def _split(run: Interpreter, a: Any, *, sizes: Any, axis: int) -> list[Cell]:
    ends = np.cumsum(sizes)[:-1]
    return [a.take(index) for index in np.split(places(a.real.shape), ends, axis)]


@handles("pad")
def _pad(run: Interpreter, a: Any, value: Any, *, padding_config: Any) -> Cell:
    cell = run.lift(a)
    index = lax.pad(jax.numpy.asarray(places(cell.real.shape)), cell.real.size, padding_config)
    return run.join([cell, run.lift(value)]).take(np.asarray(index))


@handles("dynamic_update_slice")
def _update(run: Interpreter, a: Any, update: Any, *start: Any, **_: Any) -> Cell:
    cell, new = run.lift(a), run.lift(update)
    index = lax.dynamic_update_slice(
        jax.numpy.asarray(places(cell.real.shape)),
        jax.numpy.asarray(cell.real.size + places(new.real.shape)),
        start,
    )
    return run.join([cell, new]).take(np.asarray(index))


@handles("gather")
def _gather(run: Interpreter, a: Any, indices: Any, **params: Any) -> Cell:
    cell = run.lift(a)
    params["fill_value"] = -1
    index = np.asarray(
        lax.gather_p.bind(jax.numpy.asarray(places(cell.real.shape)), indices, **params)
    )
    if (index < 0).any():
        raise NotProved("an index is out of range, which gives NaN")
    return cell.take(index)


def _targets(cell: Cell, indices: Any, updates: Cell, dimensions: Any, mode: Any) -> Any:
    """The flat index in the operand of each element of the updates; −1 is dropped."""
    window = [d for d in range(updates.real.ndim) if d in dimensions.update_window_dims]
    kept = [
        d
        for d in range(cell.real.ndim)
        if d not in dimensions.inserted_window_dims and d not in dimensions.operand_batching_dims
    ]
    sizes = [1] * cell.real.ndim
    for d, w in zip(kept, window, strict=True):
        sizes[d] = updates.real.shape[w]
    gather = lax.GatherDimensionNumbers(
        offset_dims=dimensions.update_window_dims,
        collapsed_slice_dims=dimensions.inserted_window_dims,
        start_index_map=dimensions.scatter_dims_to_operand_dims,
        operand_batching_dims=dimensions.operand_batching_dims,
        start_indices_batching_dims=dimensions.scatter_indices_batching_dims,
    )
    return np.asarray(
        lax.gather(
            jax.numpy.asarray(places(cell.real.shape)), indices, gather, tuple(sizes),
            mode=mode, fill_value=-1,
        )
    )  # fmt: skip


@handles("scatter-add", "scatter_add", "scatter")
def _scatter(
    run: Interpreter, a: Any, indices: Any, updates: Any, *, dimension_numbers: Any, mode: Any,
    update_jaxpr: Any, **_: Any,
) -> Cell:  # fmt: skip
    cell, new = run.lift(a), run.lift(updates)
    targets = _targets(cell, indices, new, dimension_numbers, mode).reshape(-1)
    adds = update_jaxpr is not None and any(e.primitive.name == "add" for e in update_jaxpr.eqns)
    left: Any = np.flatnonzero(targets >= 0)
    while len(left):  # one update of each element at a time, in order
        first = np.unique(targets[left], return_index=True)[1]
        now = left[np.sort(first)]
        index = places(cell.real.shape).copy()
        values = new.take(now)
        if adds:
            values = cell.take(targets[now]) + values
        index.reshape(-1)[targets[now]] = cell.real.size + np.arange(len(now))
        cell = run.join([cell, values]).take(index)
        left = np.setdiff1d(left, now)
    return cell


# Reductions ---------------------------------------------------------------------------------------


def _rows(a: Cell, axes: Any) -> tuple[Cell, tuple[int, ...]]:
    """Bring the reduced axes to the front, as one."""
    kept = [d for d in range(a.real.ndim) if d not in axes]
    shape = tuple(a.real.shape[d] for d in kept)
    index = places(a.real.shape).transpose([*axes, *kept])
    n = int(np.prod([a.real.shape[d] for d in axes]))
    return a.take(index.reshape(n, *shape)), shape


@handles("reduce_sum")
def _sum(run: Interpreter, a: Any, *, axes: Any, **_: Any) -> Cell:
    return run.total(_rows(a, axes)[0])


def _extreme(run: Interpreter, a: Cell, axes: Any, arg: Any) -> tuple[Cell, Any]:
    run.ordered.add(run.place)
    rows, shape = _rows(a, axes)
    best = arg(rows.real, 0)
    index = places(rows.real.shape)
    return rows.take(np.take_along_axis(index, best[None], 0)[0]), best.reshape(shape)


@handles("reduce_max")
def _reduce_max(run: Interpreter, a: Any, *, axes: Any, **_: Any) -> Cell:
    return _extreme(run, a, axes, np.argmax)[0]


@handles("reduce_min")
def _reduce_min(run: Interpreter, a: Any, *, axes: Any, **_: Any) -> Cell:
    return _extreme(run, a, axes, np.argmin)[0]


@handles("argmax")
def _argmax(run: Interpreter, a: Any, *, axes: Any, index_dtype: Any, **_: Any) -> Any:
    run.ordered.add(run.place)
    return np.argmax(a.real, axes[0]).astype(index_dtype)


@handles("argmin")
def _argmin(run: Interpreter, a: Any, *, axes: Any, index_dtype: Any, **_: Any) -> Any:
    run.ordered.add(run.place)
    return np.argmin(a.real, axes[0]).astype(index_dtype)


@handles("reduce_prod")
def _reduce_prod(run: Interpreter, a: Any, *, axes: Any, **_: Any) -> Cell:
    rows, shape = _rows(a, axes)
    index = places(rows.real.shape)
    product = run.lift(np.ones(shape))
    for row in index:
        product = product * rows.take(row)
    return product


@handles("reduce")
def _reduce(run: Interpreter, a: Any, start: Any, *, jaxpr: Any, dimensions: Any, **_: Any) -> Any:
    if any(equation.primitive.name in ("select_n", "max", "min") for equation in jaxpr.eqns):
        run.ordered.add(run.place)
    rows, shape = _rows(a, dimensions)
    carry: Any = np.broadcast_to(start, shape)
    for row in places(rows.real.shape):
        (carry,) = run.run(closed(jaxpr), [carry, rows.take(row)])
    return carry


def _cumulative(combine: Any) -> Any:
    def handler(run: Interpreter, a: Any, *, axis: int, reverse: bool) -> Cell:
        index = np.moveaxis(places(a.real.shape), axis, 0)
        total, totals = None, list[Cell]()
        for row in index[::-1] if reverse else index:
            total = a.take(row) if total is None else combine(total, a.take(row))
            totals.append(total)
        stacked = run.join(totals[::-1] if reverse else totals)
        order = places((len(totals), *index.shape[1:]))
        return stacked.take(np.moveaxis(order, 0, axis))

    return handler


handles("cumsum")(_cumulative(lambda a, b: a + b))
handles("cumprod")(_cumulative(lambda a, b: a * b))


@handles("dot_general")
def _dot(run: Interpreter, a: Any, b: Any, *, dimension_numbers: Any, **_: Any) -> Cell:
    (contract_a, contract_b), (batch_a, batch_b) = dimension_numbers
    left, right = run.lift(a), run.lift(b)
    free_a = [d for d in range(left.real.ndim) if d not in (*contract_a, *batch_a)]
    free_b = [d for d in range(right.real.ndim) if d not in (*contract_b, *batch_b)]
    n_batch = len(batch_a)

    def rows(cell: Cell, order: list[int], before: int, after: int) -> Cell:
        index = places(cell.real.shape).transpose(order)
        shape, start = index.shape, len(contract_a) + n_batch
        wide = (*shape[:start], *[1] * before, *shape[start:], *[1] * after)
        return cell.take(index.reshape(wide))

    x = rows(left, [*contract_a, *batch_a, *free_a], 0, len(free_b))
    y = rows(right, [*contract_b, *batch_b, *free_b], len(free_a), 0)
    product = x * y
    n = int(np.prod([left.real.shape[d] for d in contract_a]))
    rest = product.real.shape[len(contract_a) :]
    return run.total(product.take(places((n, *rest))))


@handles("sort")
def _sort(run: Interpreter, *arrays: Any, dimension: int, num_keys: int, **_: Any) -> list[Any]:
    if num_keys != 1:
        raise NotProved("the prover does not follow a sort by several keys")
    run.ordered.add(run.place)
    order = np.argsort(real(arrays[0]), dimension, kind="stable")
    index = np.take_along_axis(places(real(arrays[0]).shape), order, dimension)
    return [a.take(index) if isinstance(a, Cell) else np.ravel(a)[index] for a in arrays]
