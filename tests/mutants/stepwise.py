"""Checks that kill mutants of the notebooks' network: PyTorch's autograd of its twin."""

import inspect
from collections.abc import Callable, Iterator
from functools import cache, partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmore import stepwise
from tests import oracle
from tests.mutants.oracle import refuses, same_values
from tests.ninja.test_stepwise import ODD, PAIR_NO_B1, Sizes, draw, named

Check = Callable[[ModuleType], None]


def checks_of(module: ModuleType) -> Iterator[Check]:
    """Yield the checks of all intermediates at distinct and at minimal sizes, then the rest."""
    for sizes in (ODD, PAIR_NO_B1):
        yield partial(_right, sizes)
    yield _one_example
    yield _dtypes
    yield _sums
    yield _first_of_ties


@cache
def expected(sizes: Sizes) -> Any:
    params, X, Y = draw(sizes, "float64")
    return params, X, Y, *oracle.network(named(params), X, Y)


def _right(sizes: Sizes, module: ModuleType) -> None:
    params, X, Y, values, cotangents = expected(sizes)
    right = stepwise.Intermediates(*(jnp.asarray(v.value) for v in values.values()))
    ours = inspect.unwrap(module.forward)(params, X, Y)
    assert list(named(ours)) == list(values)
    for name, value in named(ours).items():
        oracle.assert_close(name, value, values[name], 1e-12)
    ours = inspect.unwrap(module.backward)(params, X, Y, right)
    assert named(ours).keys() == cotangents.keys() - {"loss"}
    for name, value in named(ours).items():
        oracle.assert_close(name, value, cotangents[name], 1e-12)


def _one_example(module: ModuleType) -> None:
    params, X, Y, *_ = expected(ODD)
    refuses(inspect.unwrap(module.forward), params, X[:1], Y[:1])


def _first_of_ties(module: ModuleType) -> None:
    """Among ties, the first logit receives the cotangent of the maximum, as in PyTorch."""
    params, X, Y, *_ = expected(ODD)
    values = stepwise.forward(params, X, Y)
    tied = values.logits.at[:, 1].set(9.0).at[:, 3].set(9.0)
    values = values._replace(logits=tied, counts_sum=1.5 * values.counts_sum)
    cotangents = inspect.unwrap(module.backward)(params, X, Y, values)
    assert (np.abs(cotangents.logit_maxes) > 0.01).all()
    same_values(cotangents.logits, [oracle.less_its_maximum(tied, cotangents.norm_logits)])


def _dtypes(module: ModuleType) -> None:
    """Check that float32 stays float32, by abstract evaluation."""

    def outputs(params: Any, X: Any, Y: Any) -> list[Any]:
        values = inspect.unwrap(module.forward)(params, X, Y)
        cotangents = inspect.unwrap(module.backward)(params, X, Y, values)
        return [*values, *cotangents]

    outs = jax.eval_shape(outputs, *draw(ODD, "float32"))
    assert all(leaf.dtype == "float32" for leaf in outs)


def _sums(module: ModuleType) -> None:
    """Check sums over rows for both kinds of widths, and that ``_rounded`` is the identity."""
    for shape in ((37, 64), (16, 128), (5, 27)):
        x = np.random.default_rng(0).normal(size=shape)
        same_values(module._sum_rows(jnp.asarray(x)), [x.sum(0, keepdims=True)])
    products = jnp.array([0.0, 1.0, -1.0, 2.5])
    assert module._rounded(products).tolist() == products.tolist()
