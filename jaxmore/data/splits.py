"""Splits of a file of words into train, dev and test."""

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

from jaxmore.data.torch_generator import TorchGenerator
from jaxmore.errors import InputError


class Splits(NamedTuple):
    """The words to train on, to choose hyperparameters by, and to report on."""

    train: list[str]
    dev: list[str]
    test: list[str]


def split_words(
    words: Sequence[str],
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    seed: int = 42,
) -> Splits:
    """Shuffle a copy of `words` and cut it in three.

    With the default arguments this is the split of makemore's lecture notebooks:
    `random.seed(42); random.shuffle(words)`, cut at `int(0.8 * n)` and `int(0.9 * n)`.

    Args:
        words: n words; they are not modified.
        fractions: the shares of train, dev and test; they sum to 1.
        seed: the seed of Python's Mersenne Twister.

    Returns:
        Three lists that together hold each of the n words once.

    Raises:
        InputError: the fractions are not three non-negative numbers that sum to 1, or one of the
            splits comes out empty.
    """
    shares = " / ".join(str(fraction) for fraction in fractions)
    # In this form NaN is refused, too.
    valid = len(fractions) == 3 and all(fraction >= 0 for fraction in fractions)
    if not (valid and math.isclose(sum(fractions), 1, abs_tol=1e-9)):
        raise InputError(f"fractions must be three numbers >= 0 that sum to 1, got {shares}")
    shuffled = list(words)
    random.Random(seed).shuffle(shuffled)
    # 0.7 + 0.2 and 0.29 * 100 are just below 0.9 and 29; adding 1e-9 corrects that. It changes
    # nothing for 0.8 * n and 0.9 * n, which are whole or at least 0.1 below the next whole number.
    n_train, n_seen = (
        math.floor(share * len(shuffled) + 1e-9)
        for share in (fractions[0], fractions[0] + fractions[1])
    )
    splits = Splits(shuffled[:n_train], shuffled[n_train:n_seen], shuffled[n_seen:])
    for name, split in splits._asdict().items():
        if not split:
            raise InputError(f"{len(shuffled)} words split {shares}: the {name} split is empty")
    return splits


def split_like_makemore(words: Sequence[str], seed: int = 3407) -> Splits:
    """Hold out the words that makemore.py holds out of the same file.

    These are the last min(1000, int(0.1 n)) words of a permutation by `torch.randperm`, the first
    draw of makemore.py after `torch.manual_seed(seed)`.

    makemore.py has no dev split: it keeps the model with the best loss on test. Here dev is empty,
    so the three splits hold each word once. To choose a model as makemore.py does, use test.

    Args:
        words: n >= 10 words, in the order of the file; they are not modified.
        seed: makemore.py's `--seed`, with its default.

    Returns:
        train and test in makemore.py's order, and no dev.

    Raises:
        InputError: fewer than 10 words, of which makemore.py would train on none.
        ValueError: torch does not accept the seed.
    """
    n_test = min(1000, int(len(words) * 0.1))
    if not n_test:
        raise InputError(f"makemore.py's split takes at least 10 words, got {len(words)}")
    order: list[int] = TorchGenerator(seed).randperm(len(words)).tolist()
    shuffled = [words[i] for i in order]
    return Splits(train=shuffled[:-n_test], dev=[], test=shuffled[-n_test:])


def seen_in_train(splits: Splits) -> tuple[int, int]:
    """Count the words of dev and of test that are also in train.

    A loss on such words measures memory, not generalisation. `unique_words` before the split avoids
    them. Returns (dev, test); duplicates count as often as they occur.

    >>> seen_in_train(Splits(["ava", "mia"], ["ava", "zoe", "ava"], ["lia"]))
    (2, 0)
    """
    train = set(splits.train)
    return sum(word in train for word in splits.dev), sum(word in train for word in splits.test)
