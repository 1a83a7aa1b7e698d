"""The parameters and the minibatch that the exercise starts from."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxmore import data
from jaxmore.data import IntArray, TorchGenerator, Vocabulary
from jaxmore.ninja.notebooks import notebook_003


class Batch(NamedTuple):
    """The seven parameters of the network, and 32 examples of the embedded names."""

    C: Float[Array, "V E"]
    W1: Float[Array, "TE H"]
    b1: Float[Array, " H"]
    W2: Float[Array, "H V"]
    b2: Float[Array, " V"]
    bngain: Float[Array, "1 H"]
    bnbias: Float[Array, "1 H"]
    X: Int[Array, "B T"]
    Y: Int[Array, " B"]


def batch() -> Batch:
    """Return the parameters and the minibatch of the exercise, the same for everybody.

    Returns:
        The network of notebook 003 (B = 32, T = 3, V = 27, E = 10, H = 64) with a minibatch of the
        embedded corpus; floats in float32, or in float64 where ``jax.enable_x64`` is on.
    """
    params, X, Y = notebook_003(data.read_words(data.embedded_corpus()))
    return Batch(*(jnp.array(p, float) for p in params if p is not None), X=X, Y=Y)


def some_names(n: int, length: int, g: TorchGenerator) -> tuple[IntArray, IntArray, int]:
    """Draw embedded names and return the first characters of each, and what follows each of them.

    Args:
        n: how many names.
        length: T. Only names of at least T − 1 characters are drawn, so that no place is empty.
        g: the source of random numbers.

    Returns:
        X (n, T) and Y (n, T), ids; and V, the number of ids.
    """
    words = data.read_words(data.embedded_corpus())
    vocab = Vocabulary.from_words(words)
    long_enough = [word for word in words if len(word) >= length - 1]
    drawn = [long_enough[i] for i in g.randperm(len(long_enough))[:n]]
    X, Y = data.sequences(drawn, vocab)
    return X[:, :length], Y[:, :length], vocab.size
