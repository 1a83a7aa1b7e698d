"""A linear rule is right at every size only if its backward is its forward's transposes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxmore.prove.residues import NotProved
from tests.prove.transposes import LINEAR, SIZES, check_shipped, check_transposes


@pytest.mark.quick("flatten", "causal_mean")
@pytest.mark.parametrize("name", LINEAR)
def test_a_linear_rule_is_its_transposes_in_reverse_order(name: str) -> None:
    check_shipped(name)


def check(fwd: Callable[..., Any], bwd: Callable[..., Any], text: str = "f[{},{}]") -> None:
    """Compare a rule that saves no more than its second argument."""

    def case(lead: str, *sizes: int) -> Any:
        return text.replace("[", "[" + lead, 1).format(*sizes), {}

    check_transposes(fwd, lambda *args: (fwd(*args), args[1:]), bwd, case)


def counts(x: Any) -> Any:
    return jnp.arange(1.0, x.shape[-2] + 1)[:, None]


def mean(x: Any) -> Any:
    return lax.cumsum(x, x.ndim - 2) / counts(x)


def mean_back(x: Any, by: Any = counts, axis: int = -2, reverse: bool = True) -> Any:
    return (lax.cumsum(x / by(x), x.ndim + axis, reverse=reverse),)


def test_another_chain_of_known_steps_is_right() -> None:
    def fwd(x: Any) -> Any:
        return lax.cumsum(2 * x.reshape(-1) / 3, reverse=True)

    def bwd(_: Any, dy: Any) -> Any:
        return ((2 * lax.cumsum(dy) / 3).reshape(9, 4),)

    check_transposes(fwd, lambda x: (fwd(x), ()), bwd, lambda *_: ("f[9,4]", {}))


@pytest.mark.slow
@pytest.mark.parametrize(
    "bwd",
    [
        lambda dy: mean_back(dy, axis=-1),
        lambda dy: mean_back(dy, reverse=False),
        lambda dy: (dy / counts(dy),),
        lambda dy: (lax.cumsum(dy, dy.ndim - 2, reverse=True),),
        lambda dy: (lax.cumsum(dy, dy.ndim - 2, reverse=True) / counts(dy),),  # not reversed order
        lambda dy: mean_back(dy / counts(dy)),
        lambda dy: mean_back(-dy),
        # Another constant: everywhere, at one size, in one place of a larger size.
        lambda dy: mean_back(dy, lambda x: counts(x) + 1),
        lambda dy: mean_back(dy, lambda x: counts(x) + (x.shape[-2] == SIZES[-1])),
        lambda dy: mean_back(dy, lambda x: jnp.where(counts(x) == 50, 51, counts(x))),
        lambda dy: mean_back(dy, lambda x: counts(jnp.ones((1, 1)))),
        # Right where it is tried first, at odd sizes, without leading axes, with one feature.
        lambda dy: mean_back(dy, reverse=dy.shape == (SIZES[0], SIZES[0])),
        lambda dy: mean_back(dy, reverse=dy.shape[-2] % 2 == 1),
        lambda dy: mean_back(dy, reverse=dy.ndim == 2),
        lambda dy: mean_back(dy, reverse=dy.shape[-1] == 1),
        lambda dy: mean_back(dy, reverse=dy.size < 1000),
    ],
)
def test_a_wrong_mean_is_refused(bwd: Any) -> None:
    check(mean, lambda _, dy: mean_back(dy))
    with pytest.raises(NotProved):
        check(mean, lambda _, dy: bwd(dy))


def keep(x: Any, key: Any, rate: float = 0.5, flip: bool = False) -> Any:
    mask = jax.random.bernoulli(key, 0.5, x.shape)
    scaled = x / rate
    return jnp.where(mask, 0, scaled) if flip else jnp.where(mask, scaled, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "back",
    [
        lambda key, dy: keep(dy, key, flip=True),
        lambda key, dy: keep(dy, jax.random.fold_in(key, 1)),
        lambda key, dy: keep(dy, key, rate=2),
        lambda key, dy: keep(dy, key, rate=0.5 if dy.shape[-1] < 100 else 0.4),
        lambda key, dy: dy / 0.5,
        lambda key, dy: jnp.where(jax.random.bernoulli(key, 0.5, dy.shape), dy / 0.5, 1),
        lambda key, dy: keep(dy, key) * keep(dy, key),
    ],
)
def test_another_mask_or_scale_is_refused(back: Any) -> None:
    text = "f[{},{}] key"
    check(keep, lambda saved, dy: (keep(dy, *saved), None), text)
    with pytest.raises(NotProved):
        check(keep, lambda saved, dy: (back(*saved, dy), None), text)


def numbers(axis: int) -> lax.GatherDimensionNumbers:
    """Of a gather along an axis of a matrix: each index takes a row, or a column."""
    return lax.GatherDimensionNumbers((1,), (axis,), (axis,))


def rows(table: Any, ids: Any, axis: int = 0) -> Any:
    sizes = (1, table.shape[1]) if axis == 0 else (table.shape[0], 1)
    return lax.gather(table, ids[:, None], numbers(axis), sizes)


def add_rows(ids: Any, dy: Any, start: float = 0, axis: int = 0, **promises: bool) -> Any:
    gather = numbers(axis)
    dimensions = lax.ScatterDimensionNumbers((1,), gather[1], gather[2])
    zeros = jnp.full((dy.shape[1], dy.shape[1]), start, dy.dtype)
    return lax.scatter_add(zeros, ids[:, None], dy, dimensions, **promises)


@pytest.mark.parametrize(
    "back",
    [
        lambda ids, dy: add_rows(ids, dy, axis=1),
        lambda ids, dy: add_rows(ids, dy, axis=int(dy.shape[1] == SIZES[-1])),
        lambda ids, dy: add_rows(ids, dy, start=1),
        lambda ids, dy: add_rows(ids[::-1], dy),
        lambda ids, dy: add_rows(ids * 1, dy) * 2,
        lambda ids, dy: add_rows(jnp.maximum(ids, 1), dy),
        lambda ids, dy: add_rows(ids, dy, unique_indices=True),
        lambda ids, dy: add_rows(ids, dy, indices_are_sorted=True),
        lambda ids, dy: jnp.zeros((dy.shape[1], dy.shape[1])).at[ids].set(dy),
    ],
    ids=["axis", "axis at a size", "start", "order", "factor", "ids", "unique", "sorted", "set"],
)
@pytest.mark.quick("axis at a size", "order", "set")
def test_another_scatter_is_refused(back: Any) -> None:
    def case(_: str, size: int, __: int) -> Any:
        return f"f[{size},{size}] i[5]<{size}", {}

    def fwd(table: Any, ids: Any) -> Any:
        return rows(table, ids), ids

    check_transposes(rows, fwd, lambda ids, dy: (add_rows(ids, dy), None), case)
    with pytest.raises(NotProved):
        check_transposes(rows, fwd, lambda ids, dy: (back(ids, dy), None), case)


@pytest.mark.parametrize(
    ("fwd", "bwd", "reason"),
    [
        # Of a shape that is the input's at one size alone.
        (lambda x: x.reshape(-1), lambda _, dy: (dy.reshape(1, -1),), "reverse order"),
        (jnp.ravel, lambda _, dy: (dy[::-1].reshape(1, -1),), "no transpose of rev"),
        (lambda x: x * x, lambda _, dy: (dy,), "another array"),
        (lambda x: 2 * x + 1, lambda _, dy: (2 * dy,), "no transpose of add"),
        (lambda x: (2 * x, 3 * x)[1], lambda _, dy: (3 * dy,), "another array"),
        (lambda x: 2 / x, lambda _, dy: (2 / dy,), "no transpose of div"),
        (lambda x: x if x.shape[-1] < 100 else 2 * (3 * x),
         lambda _, dy: (dy if dy.shape[-1] < 100 else 2 * (3 * dy),), "another chain"),
    ],
)  # fmt: skip
def test_what_is_no_chain_is_refused(fwd: Any, bwd: Any, reason: str) -> None:
    with pytest.raises(NotProved, match=reason):
        check(fwd, bwd)


def test_what_is_saved_of_the_array_is_not_the_chain() -> None:
    def case(*_: Any) -> Any:
        return "f[3]", {}

    for back in (lambda x, dy: (x,), lambda x, dy: (dy * x,)):
        with pytest.raises(NotProved):
            check_transposes(lambda x: 1 * x, lambda x: (1 * x, x), back, case)
    with pytest.raises(NotProved, match="op"):
        check_transposes(lambda x: 2 * x, lambda x: (3 * x, ()), lambda _, dy: (3 * dy,), case)
    with pytest.raises(NotProved, match="another argument"):
        check_transposes(
            lambda x, i: 2 * x, lambda x, i: (2 * x, ()), lambda _, dy: (None, 2 * dy),
            lambda *_: ("f[3] i[3]<4", {}),
        )  # fmt: skip


def test_masks_of_equal_shape_are_compared_by_their_elements() -> None:
    mask, other = np.arange(4.0), np.arange(4.0) + (np.arange(4) == 2)

    def case(*_: Any) -> Any:
        return "f[4]", {}

    def fwd(x: Any) -> Any:
        return mask * x

    check_transposes(fwd, lambda x: (fwd(x), ()), lambda _, dy: (mask * dy,), case)
    with pytest.raises(NotProved):
        check_transposes(fwd, lambda x: (fwd(x), ()), lambda _, dy: (other * dy,), case)
