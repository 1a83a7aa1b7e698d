"""jaxmore's ``sample_words``, from seed to strings."""

from collections.abc import Callable
from itertools import count
from typing import Any

from jaxmore.data import Vocabulary
from jaxmore.models import MODELS, token_by_token
from jaxmore.training.sampling import sample_words


def prepare(network: Any) -> Callable[[], list[str]]:
    model = MODELS["mlp-bn"].make(network.vocab_size)
    parts = token_by_token(model, network.params, network.stats, block_size=3)
    seeds = count()
    return lambda: sample_words(
        *parts,
        Vocabulary(network.characters),
        n_words=network.n_words,
        max_length=network.max_length,
        seed=next(seeds),
    )
