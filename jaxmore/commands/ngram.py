"""What ``jaxmore ngram`` does: a bigram or trigram counted, and learned, and words made of it."""

import sys
from pathlib import Path

import jax.numpy as jnp
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
from jaxmore.errors import InputError
from jaxmore.files import writing_to
from jaxmore.models._ngram import (
    count_ngrams,
    log_probabilities,
    mean_nll,
    ngram,
    train_neural_ngram,
)
from jaxmore.runs.inference import LONGEST_SAMPLE, print_words
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
    path = corpus_path(input_file)
    words = read_words(path)
    vocab, longest_word = Vocabulary.from_words(words), max(map(len, words))
    if vocab.size**n > MOST_CELLS:
        raise InputError(f"--n {n}: a table of {vocab.size}^{n} counts is too large")
    try:
        splits = split_words(words)
    except InputError as error:  # too few: to count them needs no split
        print(f"note: {error}: all words are train words", file=sys.stderr)
        splits = Splits(words, [], [])
    folder = Path(work_dir)
    with writing_to(folder):
        pass  # learn of a folder that cannot be written to before all the work
    of_split = {
        name: count_ngrams(*context_windows(split, vocab, n - 1), vocab.size)
        for name, split in splits._asdict().items()
        if split
    }
    everything = np.sum(list(of_split.values()), axis=0)
    print(
        f"{path}: {len(words):,} words, {everything.sum():,} characters "
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
    longest = min(2 * longest_word, LONGEST_SAMPLE)
    made = sample_words(model, params, stats, vocab, n_words=n_words, max_length=longest, seed=seed)
    print_words(made, splits)
    figure = folder / f"{NAMES[n]}.png"
    with writing_to(folder):
        plots.save(plots.ngram_counts(everything, "".join(vocab.itos.values())), figure)
    print(figure)
