"""The same transformer by the same optimiser as ``minute_muon``, 38,000 steps with dropout 0.1."""

from collections.abc import Sequence

from benchmarks.records.entries import minute_muon
from benchmarks.records.tracks import LogProbs
from jaxmore.data import Vocabulary

TRACK, BASELINE = "ten_minutes", "ten_minutes_muon"


def train(words: Sequence[str], vocab: Vocabulary, seed: int) -> LogProbs:
    """Train with batches of 32 words."""
    return minute_muon.train(words, vocab, seed, minute_muon.Recipe(38_000, 0.1))
