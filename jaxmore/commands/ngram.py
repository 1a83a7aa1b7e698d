"""``jaxmore ngram``: count or learn bigrams or trigrams, and sample words from them."""

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import arg

from jaxmore.commands.flags import Words, WorkDir
from jaxmore.errors import InputError
from jaxmore.runs.config import check_at_least, check_seed
from jaxmore.terminal import say

NAMES = {2: "bigrams", 3: "trigrams"}
MOST_CELLS = 10**8
"""The most cells of a table, 0.8 GB of counts. Trigrams reach it at 464 characters."""


@dataclass(frozen=True)
class Ngram:
    """Count bigrams or trigrams; print their mean NLL, draw a heat map and sample words."""

    input_file: Words = None
    """Words, one per line."""
    work_dir: WorkDir = "out"
    """Folder for the figure."""
    n: Literal[2, 3] = 2
    """2: predict a character from the previous one. 3: from the previous two."""
    smoothing: float = 1.0
    """Added to every count."""
    neural: bool = False
    """Also learn the table by gradient descent: one linear layer on one-hot vectors."""
    steps: int = 1_000
    """With --neural, steps of gradient descent, each over all words."""
    learning_rate: Annotated[float, arg(aliases=["-l"])] = 50.0
    """With --neural, the learning rate of gradient descent."""
    penalty: float = 0.01
    """With --neural, the weight of mean(W²) in the loss; with 0 it converges to the counts."""
    n_words: int = 20
    """Number of words to sample."""
    seed: int = 2147483647
    """Seed for the sampled words."""

    def run(self) -> None:
        """Print the losses of the counted and the learned table, sample words, draw a figure."""
        self._check()
        import numpy as np

        from jaxmore import plots
        from jaxmore.data import (
            Splits,
            Vocabulary,
            context_windows,
            corpus_path,
            read_words,
            split_words,
        )
        from jaxmore.files import check_output, writing_to
        from jaxmore.models import count_ngrams

        path = corpus_path(self.input_file)
        words = read_words(path)
        vocab = Vocabulary.from_words(words)
        if vocab.size**self.n > MOST_CELLS:
            raise InputError(f"--n {self.n}: a table of {vocab.size}^{self.n} counts is too large")
        try:
            splits = split_words(words)
        except InputError as error:  # too few words, but counting needs no split
            print(f"note: {error}: all words are train words", file=sys.stderr)
            splits = Splits(words, [], [])
        folder = Path(self.work_dir)
        figure = folder / f"{NAMES[self.n]}.png"
        with writing_to(folder):
            check_output(figure)  # before all the work
        counts = {
            name: count_ngrams(*context_windows(split, vocab, self.n - 1), vocab.size)
            for name, split in splits._asdict().items()
            if split
        }
        everything = np.sum(list(counts.values()), axis=0)
        say(
            f"{path}: {len(words):,} words, {everything.sum():,} characters "
            f"to predict, {np.count_nonzero(everything):,} of {everything.size:,} "
            f"{NAMES[self.n]} occur"
        )
        self._print_losses(counts, everything)
        self._print_samples(everything, vocab, splits)
        with writing_to(folder):
            plots.save(plots.ngram_counts(everything, "".join(vocab.itos.values())), figure)
        say(str(figure))

    def _print_losses(self, counts: dict[str, Any], everything: Any) -> None:
        import jax.numpy as jnp
        import numpy as np

        from jaxmore.models import log_probabilities, mean_nll, train_neural_ngram

        say(f"mean NLL in nats per character, smoothing {self.smoothing:g}")
        log_probs = log_probabilities(everything, smoothing=self.smoothing)
        counted = mean_nll(log_probs, everything)
        say(f"counted over all words: all {counted:.7f}")
        if self.neural:
            table = train_neural_ngram(
                jnp.array(everything), self.steps, self.learning_rate, penalty=self.penalty
            )
            learned = mean_nll(np.asarray(table, np.float64), everything)
            if not np.isfinite(learned):
                raise InputError("the learned table diverged: lower --learning-rate")
            say(
                f"learned in {self.steps:,} steps, penalty {self.penalty:g}: all {learned:.7f}, "
                f"{learned - counted:+.7f} from counting"
            )
        of_train = log_probabilities(counts["train"], smoothing=self.smoothing)
        losses = [f"{name} {mean_nll(of_train, split):.7f}" for name, split in counts.items()]
        say("counted over train words: " + ", ".join(losses))

    def _print_samples(self, everything: Any, vocab: Any, splits: Any) -> None:
        import jax.numpy as jnp

        from jaxmore.models import log_probabilities, ngram
        from jaxmore.runs.inference import LONGEST_SAMPLE, print_words
        from jaxmore.training.sampling import sample_in_batches

        model = ngram(vocab.size, self.n - 1)
        log_probs = log_probabilities(everything, smoothing=self.smoothing)
        weight = jnp.array(log_probs.reshape(-1, vocab.size), jnp.float32)
        longest = max(len(word) for split in splits for word in split)
        batches = sample_in_batches(
            model,
            {"windows": {}, "context": {}, "logits": {"weight": weight}},
            {"windows": {}, "context": {}, "logits": {}},
            vocab,
            n_words=self.n_words,
            max_length=min(2 * longest, LONGEST_SAMPLE),
            seed=self.seed,
        )
        for words in batches:
            print_words(words, splits)

    def _check(self) -> None:
        if not 1 <= self.steps < 2**31:
            raise InputError(f"--steps must lie in 1..{2**31 - 1}, got {self.steps}")
        check_at_least("n_words", self.n_words, 1)
        check_seed(self.seed)
        for flag in ("smoothing", "penalty"):
            if not 0 <= getattr(self, flag) <= 1e9:
                raise InputError(f"--{flag} must lie in 0..1e9, got {getattr(self, flag)}")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"--learning-rate must be positive, got {self.learning_rate}")
