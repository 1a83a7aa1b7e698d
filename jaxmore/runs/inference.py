"""Inference with a trained model: losses of words, and new words."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from jaxmore.data import Splits, printable
from jaxmore.errors import InputError
from jaxmore.models import token_by_token
from jaxmore.runs.config import check_seed
from jaxmore.runs.corpus import MAKEMORE_SEED, Corpus, Words, read_corpus
from jaxmore.runs.trained import Trained
from jaxmore.terminal import pad, paint, say
from jaxmore.training.evaluation import mean_loss
from jaxmore.training.sampling import sample_in_batches

STYLE_OF_PLACE = {"in train": "dim", "in dev/test": "cyan", "new": "green"}
LONGEST_SAMPLE = 2_000
"""The length at which a sampled word is cut, however long the longest word of the file is."""


def evaluate(trained: Trained, words: Words | None = None) -> dict[str, float]:
    """Compute the loss of a trained model on each split of some words.

    Of a large pack, a sample of each split is evaluated.

    Args:
        trained: the model.
        words: a list of words or the path of a file, split as in training; None for the file that
            the model was trained on.

    Returns:
        The mean loss in nats per character, by the name of the split.

    Raises:
        InputError: the words cannot be read, or the model does not know one of their characters.

    >>> import jaxmore
    >>> trained = jaxmore.fit(["ava", "mia", "zoe", "lea"] * 5, max_steps=20, batch_size=4)
    >>> sorted(jaxmore.evaluate(trained, ["mia", "ava"] * 5))
    ['dev', 'test', 'train']
    """
    return {name: loss for name, (loss, _) in split_losses(trained, words).items()}


def split_losses(trained: Trained, words: Words | None) -> dict[str, tuple[float, int]]:
    """Compute the loss of each split, and the number of characters that it is the mean over."""
    corpus = corpus_of(trained, words)
    block_size = corpus.block_size(trained.options)
    data = corpus.examples(trained.reads, block_size, trained.vocab, cut=trained.cuts_words)
    return {
        name: (mean_loss(trained.model, trained.params, trained.stats, X, Y), int((Y != -1).sum()))
        for name, (X, Y) in data.items()
    }


def sample(
    trained: Trained,
    n: int = 20,
    *,
    prompt: str = "",
    temperature: float | None = None,
    top_k: int | None = None,
    seed: int = 2147483647,
) -> list[str]:
    """Sample words from a trained model.

    Args:
        trained: the model.
        n: the number of words.
        prompt: the beginning of every word.
        temperature: below 1 likelier words, above 1 more surprising ones; None for the model's
            own, 0.5 for microgpt and 1 for the others.
        top_k: draw among the k most likely characters only.
        seed: the seed of the draws; equal seeds give equal words. A larger n adds words to the
            same first ones, unless the rounding of another batch size decides a draw.

    Returns:
        n words.

    Raises:
        InputError: the prompt holds an unknown character or leaves no room, the temperature is not
            positive, ``top_k`` lies outside 1..V, the seed outside 0..2³² − 1, or there is too
            little memory.
    """
    check_seed(seed)
    batches = sample_batches(
        trained, n, prompt=prompt, temperature=temperature, top_k=top_k, seed=seed
    )
    return [word for words in batches for word in words]


def sample_batches(
    trained: Trained,
    n: int,
    *,
    prompt: str,
    temperature: float | None,
    top_k: int | None,
    seed: int,
) -> Iterator[list[str]]:
    """Sample as :func:`sample` does, but yield the words of each batch as they come."""
    longest = min(2 * trained.record["data"]["longest_word"], LONGEST_SAMPLE)
    if trained.reads == "windows":
        model, params, stats = token_by_token(
            trained.model, trained.params, trained.stats, trained.options["block_size"]
        )
        max_length = longest
    else:
        model, params, stats = trained.model, trained.params, trained.stats
        max_length = trained.options.get("block_size", longest)
    return sample_in_batches(
        model,
        params,
        stats,
        trained.vocab,
        n_words=n,
        max_length=max_length,
        seed=seed,
        temperature=trained.temperature if temperature is None else temperature,
        top_k=top_k,
        prompt=prompt,
    )


def corpus_of(trained: Trained, words: Words | None, *, packs: bool = True) -> Corpus:
    """Read the words that a model was trained on, or others, and split them in the same way.

    Raises:
        InputError: they cannot be read, or are a pack where ``packs`` is false.
    """
    data = trained.record["data"]
    if words is None:
        if not data["file"]:
            raise InputError("the model was trained on a list of words, not a file: name them")
        words = Path(data["file"])
    seed = trained.record["training"].get("makemore_seed", MAKEMORE_SEED)
    corpus = read_corpus(
        words, trained.reads, unique=data["unique"], makemore_seed=seed, packs=packs
    )
    if isinstance(words, os.PathLike) and corpus.sha256 != data["sha256"]:
        print(f"note: {corpus.name} is not the file that the model was trained on", file=sys.stderr)
    return corpus


def places_of(words: list[str], splits: Splits | None) -> list[str | None]:
    """Tell where each word stands: "in train", "in dev/test", "new"; None without splits."""
    if splits is None:
        return [None] * len(words)
    train, held_out = set(splits.train), {*splits.dev, *splits.test}
    return [
        "in train" if word in train else "in dev/test" if word in held_out else "new"
        for word in words
    ]


def print_words(words: list[str], splits: Splits | None) -> None:
    """Print words, each marked by where it stands if there are splits."""
    painted = {place: paint(place, style) for place, style in STYLE_OF_PLACE.items()}
    for word, place in zip(words, places_of(words, splits), strict=True):
        shown = printable(word)
        say(f"{pad(shown, 20)} {painted[place]}" if place else shown)
