"""What ``jaxmore ngram`` does: a bigram or trigram counted, and learned, and words made of it."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxmore import plots
from jaxmore.data import context_windows
from jaxmore.errors import InputError
from jaxmore.models.ngram import (
    count_ngrams,
    log_probabilities,
    mean_nll,
    ngram,
    train_neural_ngram,
)
from jaxmore.training.corpus import read_corpus
from jaxmore.training.inference import LONGEST_SAMPLE, print_words
from jaxmore.training.sampling import sample_words

NAMES = {2: "bigrams", 3: "trigrams"}
MOST_CELLS = 10**8
"""Of a table: 0.8 GB of counts. A trigram reaches it at 464 characters."""


def run_ngram(
    input_file: str | None,
    work_dir: str,
    *,
    n: int,
    smoothing: float,
    neural: bool,
    n_steps: int,
    learning_rate: float,
    penalty: float,
    n_words: int,
    seed: int,
) -> None:
    """``jaxmore ngram``: the mean NLL of a counted model, of the neural one, words and a figure."""
    corpus = read_corpus("mlp-bn", input_file, unique=False)
    vocab = corpus.vocab
    if vocab.size**n > MOST_CELLS:
        raise InputError(f"--n {n}: a table of {vocab.size}^{n} counts is too large")
    of_split = {
        name: count_ngrams(*context_windows(words, vocab, n - 1), vocab.size)
        for name, words in corpus.splits._asdict().items()
    }
    everything = np.sum(list(of_split.values()), axis=0)
    print(
        f"{corpus.path}: {sum(map(len, corpus.splits)):,} words, {everything.sum():,} characters "
        f"to predict, {np.count_nonzero(everything):,} of {everything.size:,} {NAMES[n]} occur"
    )
    print(f"mean NLL in nats per character, smoothing {smoothing:g}")
    log_probs = log_probabilities(everything, smoothing=smoothing)
    counted = mean_nll(log_probs, everything)
    print(f"counted over all words: all {counted:.7f}")
    if neural:
        table = train_neural_ngram(jnp.array(everything), n_steps, learning_rate, penalty=penalty)
        learned = mean_nll(np.asarray(table, np.float64), everything)
        if not np.isfinite(learned):
            raise InputError("the neural form diverged: lower --learning-rate")
        print(
            f"learned in {n_steps:,} steps, penalty {penalty:g}: all {learned:.7f}, "
            f"{learned - counted:+.7f} beside counting"
        )
    of_train = log_probabilities(of_split["train"], smoothing=smoothing)
    of_each = [f"{name} {mean_nll(of_train, counts):.7f}" for name, counts in of_split.items()]
    print("counted over train words: " + ", ".join(of_each))
    model, rows = ngram(vocab.size, n - 1), log_probs.reshape(-1, vocab.size)
    params = {"windows": {}, "context": {}, "logits": {"weight": jnp.array(rows, jnp.float32)}}
    stats = {"windows": {}, "context": {}, "logits": {}}
    longest = min(2 * corpus.longest_word, LONGEST_SAMPLE)
    words = sample_words(
        model, params, stats, vocab, n_words=n_words, max_length=longest, seed=seed
    )
    print_words(words, corpus.splits)
    figure = Path(work_dir) / f"{NAMES[n]}.png"
    try:
        figure.parent.mkdir(parents=True, exist_ok=True)
        plots.save(plots.ngram_counts(everything, "." + vocab.characters), figure)
    except OSError as error:
        raise InputError(f"cannot write to {work_dir}: {error.strerror}") from error
    print(figure)
