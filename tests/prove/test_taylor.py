"""The order of the Taylor remainder tells right gradients from wrong ones, whatever their size."""

import numpy as np
import pytest

from jaxmore.prove.taylor import taylor_order

X = np.random.default_rng(0).normal(size=(3, 4))
DY = np.random.default_rng(1).normal(size=(3, 4))


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_a_right_gradient_has_order_two(scale: float):
    result = taylor_order(lambda x: scale * np.tanh(x), [X], [scale * DY / np.cosh(X) ** 2], DY)
    assert result.order == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize("error", [0.01, 1e-5])
def test_a_small_error_has_order_one(error: float):
    wrong = (1 + error) * DY / np.cosh(X) ** 2
    result = taylor_order(np.tanh, [X], [wrong], DY)
    assert not result.passed
    assert result.order == pytest.approx(1, abs=0.1)


def test_a_linear_function_is_at_rounding_level():
    assert taylor_order(lambda x: 3 * x, [X], [3 * DY], DY).order is None
    assert not taylor_order(lambda x: 3 * x, [X], [2.9 * DY], DY).passed


def test_a_loop_that_autodiff_cannot_reverse():
    def halved(x):
        while np.abs(x).max() > 0.1:
            x = x / 2
        return x * x

    n = int(np.ceil(np.log2(np.abs(X).max() / 0.1)))
    result = taylor_order(halved, [X], [2 * X / 4**n * DY], DY)
    assert result.passed
