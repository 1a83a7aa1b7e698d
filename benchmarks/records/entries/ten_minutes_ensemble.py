"""The ensemble of ``minute_ensemble`` with 56 members."""

from collections.abc import Sequence

from benchmarks.records.entries import minute_ensemble
from benchmarks.records.tracks import LogProbs
from jaxmore.data import Vocabulary

TRACK, BASELINE = "ten_minutes", "ten_minutes_muon"
RECIPE = minute_ensemble.RECIPE._replace(members=56)


def train(words: Sequence[str], vocab: Vocabulary, seed: int) -> LogProbs:
    """Train 56 members."""
    return minute_ensemble.train(words, vocab, seed, RECIPE)
