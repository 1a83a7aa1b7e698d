"""The ensemble of ``minute_ensemble`` with ten times the work."""

from collections.abc import Sequence

from benchmarks.records.entries import minute_ensemble
from benchmarks.records.tracks import LogProbs
from jaxmore.data import Vocabulary

TRACK, BASELINE = "ten_minutes", "ten_minutes_muon"
RECIPE = minute_ensemble.Recipe(16, 1_600, 5e-3, 4, 4, 64)


def train(words: Sequence[str], vocab: Vocabulary, seed: int) -> LogProbs:
    """Train the members."""
    return minute_ensemble.train(words, vocab, seed, RECIPE)
