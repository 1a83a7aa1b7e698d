"""What a batch of a run's words does in its trained model."""

from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from jaxmore.data import printable
from jaxmore.data.vocabulary import boundary_mark
from jaxmore.errors import InputError
from jaxmore.layers import Combinator
from jaxmore.runs.corpus import Words
from jaxmore.runs.folder import LAST, METRICS
from jaxmore.runs.inference import corpus_of
from jaxmore.runs.metrics import History, read_history
from jaxmore.runs.trained import Trained
from jaxmore.training.inspection import Inspection, inspect
from jaxmore.training.loop import batch_indices, fresh_params

LEAST_EXAMPLES = 32
"""microgpt trains on one word at a time: too few to tell a dead unit by."""
LONGEST_CONTEXT = 8
MOST_PREDICTIONS = 64
"""So many rows of dlogits are drawn: more could not be read."""


class Found(NamedTuple):
    """A batch, and what it does in a trained model."""

    x: Int[np.ndarray, "B T"]
    y: Int[np.ndarray, "B ..."]
    file: str
    """Where the words come from."""
    seed: int
    """Of the batch."""
    characters: list[str]
    """The character of each id; the boundary first."""
    inspection: Inspection
    ratios: dict[str, float]
    """log10 of std(update) / std(parameter) by path, where the metrics have the model's step."""
    history: History


def inspect_run(trained: Trained, work_dir: Path, words: Words | None, seed: int | None) -> Found:
    """Draw a batch of training words and run it forwards and backwards.

    The batch has as many examples as in training, at least 32. With the seed of the run it begins
    with the first ones that the run was trained on.

    Args:
        trained: the model.
        work_dir: its folder.
        words: a list of words or the path of a file; None for those of the run.
        seed: of the batch; None for that of the run.

    Raises:
        InputError: the words cannot be read or are not the model's, or there are no metrics.
    """
    work_dir = work_dir.resolve()
    of_run = work_dir.name == LAST and not (work_dir / METRICS).exists()
    training = trained.record["training"]
    if "seed" not in training:
        raise InputError(f"the model in {work_dir} was converted: it has no run to inspect")
    history = read_history(work_dir.parent if of_run else work_dir)
    corpus = corpus_of(trained, words)
    size = corpus.block_size(trained.options)
    X, Y = corpus.examples(trained.reads, size, trained.vocab, cut=trained.cuts_words)["train"]
    init_key, batch_key = jax.random.split(jax.random.key(training["seed"]))
    if seed is not None:
        _, batch_key = jax.random.split(jax.random.key(seed))
    n_examples = max(LEAST_EXAMPLES, training["batch_size"])
    which = np.asarray(batch_indices(batch_key, jnp.arange(1), n_examples, len(X)))[0]
    x, y = X[which], Y[which]
    model = cast(Combinator, trained.model)
    first = fresh_params(model, init_key)
    at = dict(zip(history.steps, history.update_to_data, strict=True))
    characters = trained.vocab.characters
    return Found(
        x=x,
        y=y,
        file=corpus.name,
        seed=training["seed"] if seed is None else seed,
        characters=[boundary_mark(characters), *map(printable, characters)],
        inspection=inspect(model, trained.params, first, jnp.array(x), jnp.array(y)),
        ratios=at.get(training["step"], {}),
        history=history,
    )


def predictions(found: Found) -> tuple[Any, list[str]]:
    """Return the rows of dlogits that a figure shows, and the context and target of each.

    They are the first of a batch of windows, or those of the longest word of a batch of sequences.
    """
    x, y, dlogits = found.x, found.y, found.inspection.dlogits
    if y.ndim == 2:
        x, y, dlogits = (array[longest(found)] for array in (x, y, dlogits))
        n = int((y != -1).sum())
        y, dlogits = y[:n], dlogits[:n]
        contexts = [x[max(0, i + 1 - LONGEST_CONTEXT) : i + 1] for i in range(n)]
    else:
        contexts = [context[-LONGEST_CONTEXT:] for context in x]
    contexts, dlogits = contexts[:MOST_PREDICTIONS], dlogits[:MOST_PREDICTIONS]
    spelled = ["".join(found.characters[i] for i in context) for context in contexts]
    return dlogits, [f"{c} → {found.characters[i]}" for c, i in zip(spelled, y, strict=False)]


def longest(found: Found) -> int:
    """Return the place of the longest word in a batch of sequences."""
    return int((found.y != -1).sum(-1).argmax())
