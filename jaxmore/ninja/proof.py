"""The 26 lines of the notebooks' network, proved without a tolerance."""

from inspect import unwrap
from typing import Any

import numpy as np

from jaxmore.ninja import stepwise
from jaxmore.prove import Proof, prove_lines

SHAPES = {"C": (4, 2), "W1": (4, 3), "b1": (3,), "W2": (3, 4), "b2": (4,), "bngain": (1, 3),
          "bnbias": (1, 3)}  # fmt: skip
X = np.array([[0, 1], [3, 1], [2, 0], [0, 0]])
Y = np.array([2, 0, 3, 2])


def prove_stepwise() -> list[Proof]:
    """Prove each cotangent of :func:`jaxmore.ninja.stepwise.backward` in a small size."""
    rng = np.random.default_rng(0)

    def forward(*params: Any) -> Any:
        return unwrap(stepwise.forward)(stepwise.Parameters(*params), X, Y)

    def backward(params: Any, values: Any) -> Any:
        return unwrap(stepwise.backward)(stepwise.Parameters(*params), X, Y, values)

    params = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}
    return prove_lines(forward, backward, params)
