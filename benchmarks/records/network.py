"""The notebooks' network in NumPy, for inference: what an entry of the speed track returns."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from benchmarks.records.contexts import Contexts
from jaxmore.data import Vocabulary, context_windows
from jaxmore.layers import Tree
from jaxmore.training.evaluation import distinct_rows

T, E, H = 3, 10, 200


class Network(NamedTuple):
    """A trained ``mlp_bn`` with the statistics of its BatchNorm. It predicts without a compiler."""

    vocab: Vocabulary
    params: Tree
    mean: Float[np.ndarray, " H"]
    var: Float[np.ndarray, " H"]

    def __call__(self, words: Sequence[str]) -> Float[np.ndarray, "n V"]:
        """Return the log-probabilities of every next character of the words."""
        X, _ = context_windows(words, self.vocab, T)
        ids, order, which = distinct_rows(X)
        norm, head = self.params["norm"], self.params["head"]
        x_hat = (preactivations(self.params, ids) - self.mean) / np.sqrt(self.var + 1e-5)
        h = np.tanh(x_hat * norm["gain"] + norm["bias"])
        logits = h @ head["weight"] + head["bias"]
        logits -= logits.max(1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(1, keepdims=True))
        rows = np.empty((len(X), logits.shape[1]), logits.dtype)
        rows[order] = logits[which]
        return rows


def random_parameters(vocab_size: int, seed: int) -> Tree:
    """Draw parameters from the notebooks' distributions, as ``mlp_bn`` does, without a compiler."""
    rng = np.random.default_rng(seed)

    def normal(std: float, *shape: int, mean: float = 0.0) -> Float[np.ndarray, "*shape"]:
        return (mean + std * rng.standard_normal(shape)).astype(np.float32)

    return {
        "embedding": {"weight": normal(1, vocab_size, E)},
        "flatten": {},
        "hidden": {"weight": normal(5 / 3 / (T * E) ** 0.5, T * E, H), "bias": normal(0.1, H)},
        "norm": {"gain": normal(0.1, H, mean=1), "bias": normal(0.1, H)},
        "act": {},
        "head": {"weight": normal(0.1, H, vocab_size), "bias": normal(0.1, vocab_size)},
    }


def calibrated(vocab: Vocabulary, params: Tree, data: Contexts) -> Network:
    """Compute the exact mean and unbiased variance over all examples, and return the network."""
    pre = preactivations(params, data.ids)
    mean = data.counts @ pre / data.counts.sum()
    var = data.counts @ (pre - mean) ** 2 / (data.counts.sum() - 1)
    return Network(vocab, params, mean, var)


def preactivations(params: Tree, ids: Int[np.ndarray, "D T"]) -> Float[np.ndarray, "D H"]:
    """Compute the input of BatchNorm."""
    hidden = params["hidden"]
    embedded = params["embedding"]["weight"][ids].reshape(len(ids), -1)
    return embedded @ hidden["weight"] + hidden["bias"]
