"""Splits: the notebooks' and makemore.py's, sizes, and what makes none."""

import random
from collections import Counter
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmore.data import (
    Splits,
    Vocabulary,
    context_windows,
    seen_in_train,
    split_like_makemore,
    split_words,
    unique_words,
)
from jaxmore.errors import InputError
from tests.refusals import only_line


@given(n=st.integers(10, 3000), seed=st.integers(0, 2**40))
def test_the_default_split_is_the_seeds(n: int, seed: int) -> None:
    words = [str(i) for i in range(n)]
    before = words.copy()
    splits = split_words(words, seed=seed)
    assert words == before

    random.Random(seed).shuffle(words)
    assert splits.train == words[: int(0.8 * n)]
    assert splits.dev == words[int(0.8 * n) : int(0.9 * n)]
    assert splits.test == words[int(0.9 * n) :]


def test_the_seed_of_the_default_split_is_42() -> None:
    words = [str(i) for i in range(100)]
    assert split_words(words) == split_words(words, (0.8, 0.1, 0.1), 42)
    assert split_words(words) != split_words(words, seed=43)
    assert split_words(tuple(words)) == split_words(words)


@pytest.mark.parametrize(
    ("fractions", "n", "sizes"),
    [
        ((0.8, 0.1, 0.1), 10, (8, 1, 1)),
        ((0.7, 0.2, 0.1), 10, (7, 2, 1)),  # 0.7 + 0.2 is a little less than 0.9
        ((0.29, 0.31, 0.4), 100, (29, 31, 40)),  # 0.29 * 100 is a little less than 29
        ((1 / 3, 1 / 3, 1 / 3), 3, (1, 1, 1)),
        ((0.333333, 0.333333, 0.333334), 1_000_000, (333_333, 333_333, 333_334)),
        ((0.5, 0.25, 0.25), 7, (3, 2, 2)),
    ],
)
def test_sizes_of_other_splits(
    fractions: tuple[float, float, float], n: int, sizes: tuple[int, int, int]
) -> None:
    assert tuple(map(len, split_words(["a"] * n, fractions))) == sizes


@given(
    words=st.lists(st.text(max_size=3), min_size=4, max_size=50),
    shares=st.tuples(*[st.integers(1, 9)] * 3),
)
def test_a_split_is_a_permutation(words: list[str], shares: tuple[int, int, int]) -> None:
    train, dev, test = (share / sum(shares) for share in shares)
    try:
        splits = split_words(words, (train, dev, test))
    except InputError:
        assert min(shares) * len(words) < 2 * sum(shares)
    else:
        assert Counter(chain.from_iterable(splits)) == Counter(words)


@pytest.mark.parametrize(
    ("n", "fractions", "name"),
    [
        (0, (0.8, 0.1, 0.1), "train"),
        (1, (0.8, 0.1, 0.1), "train"),
        (5, (0.8, 0.1, 0.1), "dev"),
        (10, (0.9, 0.1, 0.0), "test"),
        (10, (1, 0, 0), "dev"),
    ],
)
def test_an_empty_split_is_named(n: int, fractions: tuple[float, float, float], name: str) -> None:
    with pytest.raises(InputError) as error:
        split_words(["a"] * n, fractions)
    assert f"the {name} split is empty" in only_line(error)


@pytest.mark.parametrize(
    "fractions",
    [
        (0.8, 0.2),
        (0.7, 0.1, 0.1, 0.1),
        (),
        (0.8, 0.1, 0.2),
        (0.8, 0.1, 0.05),
        (1.2, -0.1, -0.1),
        (float("nan"), 0.1, 0.1),
        (float("inf"), 0.0, 0.0),
    ],
)
def test_bad_fractions_are_refused(fractions: Any) -> None:
    with pytest.raises(InputError, match="three numbers >= 0 that sum to 1"):
        split_words(["a"] * 100, fractions)


def test_words_seen_in_train_are_counted() -> None:
    splits = Splits(["ava", "mia", "ava"], ["ava", "zoe", "ava"], ["lia", "mia"])
    assert seen_in_train(splits) == (2, 1)
    assert seen_in_train(Splits([], ["ava"], [])) == (0, 0)


# makemore.py's split ------------------------------------------------------------------------------


def by_torch(torch: Any, words: list[str], seed: int) -> tuple[list[str], list[str]]:
    """What makemore.py trains on and holds out, with torch's global generator as it uses it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        order = torch.randperm(len(words)).tolist()
    n_test = min(1000, int(len(words) * 0.1))
    cut = len(words) - n_test
    return [words[i] for i in order[:cut]], [words[i] for i in order[cut:]]


@pytest.mark.parametrize("seed", [3407, 0, 1, 2**32 + 5])
@pytest.mark.parametrize("n", [10, 11, 19, 20, 999, 12_345])
def test_the_split_is_makemores(n: int, seed: int) -> None:
    torch = pytest.importorskip("torch")
    words = [f"word {i}" for i in range(n)]
    train, test = by_torch(torch, words, seed)
    assert split_like_makemore(words, seed) == Splits(train, [], test)


def test_golden_split(seed_names: list[str]) -> None:
    splits = split_like_makemore(seed_names)
    assert list(map(len, splits)) == [31_033, 0, 1000]
    assert sorted(splits.train + splits.test) == sorted(seed_names)
    assert splits.train[:3] == ["apollo", "jayliani", "cassidy"]
    assert splits.test[:4] == ["kalub", "shaima", "sthefany", "jakyri"]
    torch = pytest.importorskip("torch")
    assert (splits.train, splits.test) == by_torch(torch, seed_names, 3407)


def test_the_words_stay_in_their_order() -> None:
    words = [str(i) for i in range(20)]
    before = words.copy()
    assert split_like_makemore(words) == split_like_makemore(words, seed=3407)
    assert split_like_makemore(words, 3408) != split_like_makemore(words)
    assert words == before


def test_too_few_words_to_hold_one_out() -> None:
    with pytest.raises(InputError, match="at least 10 words, got 9"):
        split_like_makemore(["a"] * 9)


def test_golden_unique_names_share_no_word(seed_names: list[str]) -> None:
    assert seen_in_train(split_words(unique_words(seed_names))) == (0, 0)


def test_golden_counts(seed_names: list[str]) -> None:
    words = seed_names
    vocab = Vocabulary.from_words(words)
    assert words[:3] == ["emma", "olivia", "ava"]
    assert len(words) == 32_033
    assert len(unique_words(words)) == 29_494
    assert vocab == Vocabulary("abcdefghijklmnopqrstuvwxyz")
    assert vocab.size == 27

    splits = split_words(words)
    assert list(map(len, splits)) == [25_626, 3_203, 3_204]
    assert seen_in_train(splits) == (424, 377)
    windows = [context_windows(split, vocab, 3)[0].shape for split in splits]
    assert windows == [(182_625, 3), (22_655, 3), (22_866, 3)]
