"""What ``jaxmore evaluate`` and ``jaxmore sample`` do with a saved model."""

import sys
from pathlib import Path
from typing import Any

from jaxmore.data import Splits, printable
from jaxmore.errors import InputError
from jaxmore.models import MODELS, token_by_token
from jaxmore.runs.corpus import MAKEMORE_SEED, Corpus, examples, read_corpus
from jaxmore.runs.folder import LAST
from jaxmore.runs.trained import SavedModel, load_model
from jaxmore.training.evaluation import mean_loss
from jaxmore.training.sampling import sample_words

LONGEST_SAMPLE = 2_000
"""Where a sampled word is cut, however long the longest word of the file is."""


def run_evaluation(work_dir: str, input_file: str | None) -> None:
    """``jaxmore evaluate``: the exact loss of a saved model on the splits of a file of words."""
    saved = _model_of(work_dir)
    corpus = _corpus_of(saved, input_file)
    block_size = corpus.block_size(saved.options)
    for name, words in corpus.splits._asdict().items():
        if words:
            X, Y = examples(saved.type, words, saved.vocab, block_size)
            loss = mean_loss(saved.model, saved.params, saved.stats, X, Y)
            print(f"{name:5s} {loss:.4f}  ({int((Y != -1).sum()):,} characters)")


def run_sampling(
    work_dir: str,
    input_file: str | None,
    *,
    n_words: int,
    seed: int,
    temperature: float,
    top_k: int | None,
    prompt: str,
) -> None:
    """``jaxmore sample``: more words of a saved model, each marked by where it stands."""
    saved = _model_of(work_dir)
    try:
        splits = _corpus_of(saved, input_file).splits
    except InputError:
        if input_file is not None:
            raise
        splits = None  # the words that it was trained on are gone: no marks
    print_samples(
        saved,
        splits,
        n_words=n_words,
        seed=seed,
        temperature=temperature,
        top_k=top_k,
        prompt=prompt,
    )


def print_samples(
    saved: SavedModel, splits: Splits | None, *, n_words: int, seed: int, **how: Any
) -> None:
    """Print words that a model makes, marked by where they stand unless there are no splits."""
    longest = min(2 * saved.record["data"]["longest_word"], LONGEST_SAMPLE)
    if MODELS[saved.type].reads == "windows":
        by_token = token_by_token(
            saved.model, saved.params, saved.stats, saved.options["block_size"]
        )
        max_length = longest
    else:
        by_token = saved.model, saved.params, saved.stats
        max_length = saved.options.get("block_size", longest)
    words = sample_words(
        *by_token, saved.vocab, n_words=n_words, max_length=max_length, seed=seed, **how
    )
    if splits is None:
        print("\n".join(map(printable, words)))
    else:
        print_words(words, splits)


def print_words(words: list[str], splits: Splits) -> None:
    """Print words, each marked "in train", "in dev/test" or "new"."""
    train, held_out = set(splits.train), {*splits.dev, *splits.test}
    for word in words:
        bucket = "in train" if word in train else "in dev/test" if word in held_out else "new"
        print(f"{printable(word):20s} {bucket}")


def _model_of(work_dir: str) -> SavedModel:
    saved, last = load_model(Path(work_dir)), Path(work_dir) / LAST
    if last.is_dir():
        print(f"note: this is the run's best model; the last one: -o {last}", file=sys.stderr)
    return saved


def _corpus_of(saved: SavedModel, input_file: str | None) -> Corpus:
    data = saved.record["data"]
    seed = saved.record["training"].get("makemore_seed", MAKEMORE_SEED)
    corpus = read_corpus(
        saved.type, input_file or data["file"], unique=data["unique"], makemore_seed=seed
    )
    if corpus.sha256 != data["sha256"]:
        print(f"note: {corpus.path} is not the file that the model was trained on", file=sys.stderr)
    return corpus
