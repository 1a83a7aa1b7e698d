"""The networks and minibatches of the notebooks, drawn as the notebooks draw them.

The notebooks draw from PyTorch's CPU generator; `TorchGenerator` gives the same numbers without
PyTorch. Where a notebook passes no generator, the stream starts from a seed that it does not show.
MT19937 uses 32 bits of the seed, so if enough of the drawn values are printed, trying all 2**32
seeds finds it: notebook 002 prints eight of them, notebook 003 (through hpreact) six of bngain and
six of bnbias. A single loss, as in notebook 000, fits millions of seeds.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxmore.data import IntArray, TorchGenerator, Vocabulary, context_windows, split_words
from jaxmore.ninja import stepwise

SEED = 2147483647
UNSEEDED_002 = 3837303080  # gives C[1], C[5], C[6] and C[7] as printed
UNSEEDED_003 = 3554456556  # gives the six columns of hpreact as printed


class NetworkInputs(NamedTuple):
    """The parameters and the minibatch of a notebook: the arguments of `stepwise.forward`."""

    params: stepwise.Parameters
    X: Int[Array, "B T"]
    Y: Int[Array, " B"]


def notebook_003(words: Sequence[str]) -> NetworkInputs:
    """Make the network of notebook 003 (4,137 parameters) and its minibatch.

    Notebook 000 has the same, apart from bngain and bnbias, which both notebooks draw unseeded.

    Args:
        words: the notebooks' names. Other words give the same network with their vocabulary.

    Returns:
        Parameters float32, with E = 10 and H = 64; X (32, 3) and Y (32,) from the training split.

    Raises:
        InputError: too few words to split.
    """
    X, Y, n_vocab = _training_windows(words)
    g, unseeded = TorchGenerator(SEED), TorchGenerator(UNSEEDED_003)
    params = stepwise.Parameters(
        C=jnp.array(g.randn(n_vocab, 10)),
        W1=jnp.array(g.randn(30, 64) * (5 / 3) / 30**0.5),
        b1=jnp.array(g.randn(64) * 0.1),
        W2=jnp.array(g.randn(64, n_vocab) * 0.1),
        b2=jnp.array(g.randn(n_vocab) * 0.1),
        bngain=jnp.array(unseeded.randn(1, 64) * 0.1 + 1.0),
        bnbias=jnp.array(unseeded.randn(1, 64) * 0.1),
    )
    ix = g.randint(0, len(X), (32,))
    return NetworkInputs(params, jnp.array(X[ix]), jnp.array(Y[ix]))


def notebook_004(words: Sequence[str]) -> NetworkInputs:
    """Make the network of notebook 004 (12,097 parameters, no b1) and its minibatch, all seeded.

    Args:
        words: as for `notebook_003`.

    Returns:
        Parameters float32, with E = 10 and H = 200; X (32, 3) and Y (32,).

    Raises:
        InputError: too few words to split.
    """
    X, Y, n_vocab = _training_windows(words)
    g = TorchGenerator(SEED)
    params = stepwise.Parameters(
        C=jnp.array(g.randn(n_vocab, 10)),
        W1=jnp.array(g.randn(30, 200) * (5 / 3) / 30**0.5),
        b1=None,
        W2=jnp.array(g.randn(200, n_vocab) * 0.1),
        b2=jnp.array(g.randn(n_vocab) * 0.1),
        bngain=jnp.array(g.randn(1, 200) * 0.1 + 1.0),
        bnbias=jnp.array(g.randn(1, 200) * 0.1),
    )
    ix = g.randint(0, len(X), (32,))
    return NetworkInputs(params, jnp.array(X[ix]), jnp.array(Y[ix]))


def _training_windows(words: Sequence[str]) -> tuple[IntArray, IntArray, int]:
    vocab = Vocabulary.from_words(words)
    return *context_windows(split_words(words).train, vocab, 3), vocab.size
