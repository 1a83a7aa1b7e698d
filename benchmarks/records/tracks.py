"""The tracks, one timed run of an entry, and what is checked of it."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from benchmarks.records import entries
from benchmarks.records.network import Network, random_parameters
from jaxmore.data import Vocabulary, corpus_path, read_words, split_words

LogProbs = Callable[[Sequence[str]], Float[np.ndarray, "n V"]]


class Track(NamedTuple):
    """What a track asks of an entry."""

    limit: float
    """Seconds that no run may exceed."""
    target: float | None
    """The mean dev loss to reach; None: one below the baseline's."""
    n_seeds: int
    """The least number of runs."""
    record: str
    """The entry to beat: the record, or one that is better and awaits more seeds."""


TRACKS = {
    "speed": Track(60, 2.1103, 10, "speed_folded"),
    "minute": Track(60, None, 10, "minute_ensemble"),
    "ten_minutes": Track(600, None, 3, "ten_minutes_ensemble"),
}
"""2.1103 is the best dev loss of notebook 001."""
ENTRIES = [module.name for module in iter_modules(entries.__path__)]


def load(entry: str) -> Any:
    """Import the file of an entry."""
    return import_module(f"benchmarks.records.entries.{entry}")


def timed(entry: str, seed: int, words: Sequence[str]) -> dict[str, float]:
    """Time one run in this process: its seconds and its exact dev loss."""
    module = load(entry)
    vocab = Vocabulary.from_words(words)
    train, dev, _ = split_words(words)
    jax.block_until_ready(jnp.zeros(()))  # the start of JAX is nobody's work
    started = time.perf_counter()
    log_probs = module.train(train, vocab, seed)
    loss = mean_loss(log_probs, dev, vocab)
    seconds = time.perf_counter() - started
    check(log_probs, dev, module.TRACK)
    return {"seconds": seconds, "dev": loss}


def mean_loss(log_probs: LogProbs, words: Sequence[str], vocab: Vocabulary) -> float:
    """Compute the exact mean of −log p over all characters and boundaries of the words."""
    ids = vocab.encode_words(words)
    rows = log_probs(words)
    return -float(rows[np.arange(len(ids)), ids].mean(dtype=np.float64))


def check(log_probs: LogProbs, words: Sequence[str], track: str) -> None:
    """Refuse probabilities that do not sum to one or that depend on what comes later.

    Raises:
        SystemExit: with the reason.
    """
    if track == "speed":
        if not isinstance(log_probs, Network):
            raise SystemExit("an entry of the speed track returns a Network")
        shapes = jax.tree.map(np.shape, random_parameters(log_probs.vocab.size, 0))
        if jax.tree.map(np.shape, log_probs.params) != shapes:
            raise SystemExit("the parameters do not have the shapes of the notebooks' network")
    p = np.exp(log_probs(words).astype(np.float64))
    if not abs(p.sum(1) - 1).max() <= 1e-4:  # a NaN is refused, too
        raise SystemExit("the probabilities of a next character do not sum to 1")
    # The same words without their last character: what was said before it must stay.
    shorter = np.exp(log_probs([word[:-1] for word in words]).astype(np.float64))
    ends = np.cumsum([len(word) + 1 for word in words])
    if not abs(shorter - np.delete(p, ends - 1, axis=0)).max() <= 1e-3:
        raise SystemExit("a prediction depends on the characters that follow")


if __name__ == "__main__":
    print(json.dumps(timed(sys.argv[1], int(sys.argv[2]), read_words(corpus_path()))))
