"""The parameters and the minibatch that the exercise on attention starts from."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxmore.data import TorchGenerator
from jaxmore.ninja.example_batch import some_names


class Batch(NamedTuple):
    """The parameters, and the first five characters of eight embedded names."""

    C: Float[Array, "V E"]
    P: Float[Array, "T E"]
    gain: Float[Array, " E"]
    bias: Float[Array, " E"]
    Wq: Float[Array, "E E"]
    Wk: Float[Array, "E E"]
    Wv: Float[Array, "E E"]
    Wo: Float[Array, "E E"]
    Wout: Float[Array, "E V"]
    X: Int[Array, "B T"]
    Y: Int[Array, "B T"]


def batch() -> Batch:
    """Return the parameters and the minibatch of the exercise, the same for everybody.

    Returns:
        A network of B = 8, T = 5, V = 27, E = 12; floats in float32, or in float64 where
        ``jax.enable_x64`` is on.
    """
    g = TorchGenerator(42)
    X, Y, V = some_names(8, 5, g)
    T, E = X.shape[1], 12
    params = (
        g.randn(V, E),
        g.randn(T, E) * 0.5,
        g.randn(E) * 0.1 + 1.0,
        g.randn(E) * 0.1,
        *(g.randn(E, E) / E**0.5 for _ in range(4)),
        g.randn(E, V) / E**0.5,
    )
    return Batch(*(jnp.array(p, float) for p in params), X=jnp.array(X), Y=jnp.array(Y))
