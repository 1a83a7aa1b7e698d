"""The parameters and the minibatch that the exercise on the GRU starts from."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxmore.data import TorchGenerator
from jaxmore.ninja.example_batch import some_names


class Batch(NamedTuple):
    """The parameters, and the first three characters of 32 embedded names."""

    C: Float[Array, "V E"]
    start: Float[Array, " H"]
    Wz: Float[Array, "EH H"]
    bz: Float[Array, " H"]
    Wr: Float[Array, "EH H"]
    br: Float[Array, " H"]
    Wh: Float[Array, "EH H"]
    bh: Float[Array, " H"]
    Wout: Float[Array, "H V"]
    bout: Float[Array, " V"]
    X: Int[Array, "B T"]
    Y: Int[Array, "B T"]


def batch() -> Batch:
    """Return the parameters and the minibatch of the exercise, the same for everybody.

    Returns:
        A network of B = 32, T = 3, V = 27, E = 10, H = 20; floats in float32, or in float64 where
        ``jax.enable_x64`` is on.
    """
    g = TorchGenerator(42)
    X, Y, V = some_names(32, 3, g)
    E, H = 10, 20
    params = [g.randn(V, E), g.randn(H) * 0.5]
    for _ in range(3):
        params += [g.randn(E + H, H) / (E + H) ** 0.5, g.randn(H) * 0.1]
    params += [g.randn(H, V) / H**0.5, g.randn(V) * 0.1]
    return Batch(*(jnp.array(p, float) for p in params), X=jnp.array(X), Y=jnp.array(Y))
