"""Words, vocabulary, splits and windows; golden numbers on the seeds' names."""

import codecs
import hashlib
import os
import random
import tracemalloc
from collections import Counter
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmore.data import (
    NAMES_SHA256,
    Splits,
    Vocabulary,
    context_windows,
    corpus_path,
    embedded_corpus,
    read_words,
    seen_in_train,
    split_words,
    trace_windows,
    unique_words,
)
from jaxmore.data import words as corpus
from jaxmore.errors import InputError
from tests.refusals import only_line

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def seed_names() -> Path:
    """The path of the seeds' 32,033 names, recognised by their sha256; skips without them."""
    candidates = [REPOSITORY.parent / "shared" / "data" / "names.txt"]
    if named := os.environ.get("JAXMORE_NAMES"):
        candidates.insert(0, Path(named))
    for path in candidates:
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == NAMES_SHA256:
            return path
    pytest.skip("needs the seeds' names.txt: jaxmore data --download, then set JAXMORE_NAMES")


# A letter is anything but what `str.strip` takes away, line ends, NUL, the boundary and the
# surrogates, which UTF-8 cannot hold.
letters = st.characters(exclude_categories=["Cs"], exclude_characters=".\0\r\n")
words_of_any_kind = st.lists(st.text(letters, max_size=8), max_size=12)


# ---------------------------------------------------------------------------------------- words


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "words.txt"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"emma\nava\n", ["emma", "ava"]),
        (b"emma\nava", ["emma", "ava"]),
        (b"emma\r\nava\r\n", ["emma", "ava"]),
        (b"emma\rava\r", ["emma", "ava"]),
        (codecs.BOM_UTF8 + b"emma\nava\n", ["emma", "ava"]),
        (b"  emma \t\n\n   \nava\n\n", ["emma", "ava"]),
        (b"emma\nava\nemma\n", ["emma", "ava", "emma"]),
        (b"mary ann\n", ["mary ann"]),
        ("zoë\nłucja\n美咲\n🦊\n".encode(), ["zoë", "łucja", "美咲", "🦊"]),
        ("e\u0301\n\u00e9\n".encode(), ["e\u0301", "\u00e9"]),  # not normalised
        ("a\fb\na\u2028b\na\x85b\na\x1cb\n".encode(), ["a\fb", "a\u2028b", "a\x85b", "a\x1cb"]),
    ],
)
def test_reads_what_people_mean(
    write: Callable[[bytes], Path], content: bytes, expected: list[str]
) -> None:
    assert read_words(write(content)) == expected
    assert read_words(str(write(content))) == expected


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["empty"]),
        (codecs.BOM_UTF8, ["empty"]),
        (b" \n\r\n\t\n", ["only blank lines"]),
        (b"emma\r\nzo\xeb\n", ["line 2", "0xeb", "not UTF-8"]),
        (codecs.BOM_UTF8 + b"emma\nava\nzo\xeb\n", ["line 3", "0xeb"]),
        ("emma\n".encode("utf-16"), ["line 1", "not UTF-8"]),
        ("emma\n".encode("utf-16-le"), ["line 1", "NUL"]),
        (b"emma\n\nav\0a\n", ["line 3", "NUL"]),
        (b"emma\n\n st. john \n", ["line 3", "'st. john'", "'.'"]),
        (b"emma\n" + b"x" * 500 + b".\n", ["line 2", "xxx...xxx"]),
    ],
)
def test_names_what_is_wrong_with_a_file(
    write: Callable[[bytes], Path], content: bytes, parts: list[str]
) -> None:
    with pytest.raises(InputError) as error:
        read_words(write(content))
    message = only_line(error)
    assert len(message) < 300
    for part in ["words.txt", *parts]:
        assert part in message


def test_names_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"nowhere\.txt': No such file"):
        read_words(tmp_path / "nowhere.txt")
    with pytest.raises(InputError, match="cannot read"):
        read_words(tmp_path)
    with pytest.raises(InputError) as error:
        read_words("a\0b")
    assert "null" in only_line(error)

    def denied(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(InputError, match=r"secret\.txt': Permission denied$"):
        read_words("secret.txt")


@given(words=words_of_any_kind)
def test_reading_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, words: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "roundtrip.txt"
    path.write_text("\ufeff" + "\n".join(["first", *words]), encoding="utf-8", newline="")
    assert read_words(path) == ["first", *filter(None, (word.strip() for word in words))]


def test_unique_words_keep_their_order() -> None:
    words = ["mia", "ava", "mia", "zoe", "ava"]
    assert unique_words(words) == ["mia", "ava", "zoe"]
    assert words == ["mia", "ava", "mia", "zoe", "ava"]


# ----------------------------------------------------------------------------------- vocabulary


def test_ids_are_the_seeds() -> None:
    vocab = Vocabulary.from_words(["zyx", "emma", "abcdefghijklm", "nopqrstuvw"])
    assert vocab.characters == "abcdefghijklmnopqrstuvwxyz"
    assert vocab.size == 27
    assert vocab.encode("emma.").tolist() == [5, 13, 13, 1, 0]
    assert vocab.decode([5, 13, 13, 1, 0]) == "emma."


def test_vocabularies_are_values() -> None:
    one, other = Vocabulary.from_words(["ab"]), Vocabulary.from_words(["b", "a"])
    assert one == other
    assert hash(one) == hash(other)
    assert one != Vocabulary("abc")
    assert repr(one) == "Vocabulary(characters='ab')"
    with pytest.raises(AttributeError):
        one.characters = "c"  # pyright: ignore[reportAttributeAccessIssue]


@given(words=words_of_any_kind)
def test_encode_and_decode_undo_each_other(words: list[str]) -> None:
    vocab = Vocabulary.from_words(words)
    for word in [*words, "", "."]:
        ids = vocab.encode(word)
        assert ids.shape == (len(word),)
        assert vocab.decode(ids) == word
    everything = np.arange(vocab.size)
    assert vocab.encode(vocab.decode(everything)).tolist() == everything.tolist()


@pytest.mark.parametrize("word", ["é", "aé", "\0", "\U0010ffff", "\udcff", "\n", "A", "ab c"])
def test_an_unknown_character_is_named(word: str) -> None:
    unknown = next(character for character in word if character not in "abc")
    with pytest.raises(InputError) as error:
        Vocabulary("abc").encode(word)
    assert only_line(error) == f"unknown character {unknown!r}: the vocabulary holds 'abc'"


def test_a_large_vocabulary_is_named_briefly() -> None:
    with pytest.raises(InputError) as error:
        Vocabulary("".join(map(chr, range(1000, 3000)))).encode("a")
    assert len(only_line(error)) < 100


@pytest.mark.parametrize("ids", [[-1], [0, 3], [2, 1, 99]])
def test_decode_refuses_what_is_no_id(ids: list[int]) -> None:
    with pytest.raises(ValueError, match=r"0\.\.2"):
        Vocabulary("ab").decode(ids)


def test_decode_takes_any_array_of_integers() -> None:
    vocab = Vocabulary("ab")
    assert vocab.decode([]) == ""
    assert vocab.decode(np.array([1, 0, 2], np.uint8)) == "a.b"
    assert vocab.decode((2, 2)) == "bb"


def test_decode_words_ends_each_row_at_its_boundary() -> None:
    vocab = Vocabulary("aé\U0001f600")
    rows = np.array([[1, 2, 3, 1], [0, 1, 2, 3], [3, 0, 0, 0], [2, 0, 3, 3], [1, 1, 1, 0]])
    want = [vocab.decode(row).split(".")[0] for row in rows]
    assert vocab.decode_words(rows) == want
    assert vocab.decode_words(np.asfortranarray(rows)) == want
    assert vocab.decode_words(np.zeros((0, 4), int)) == []
    for wrong in (-1, 4):
        with pytest.raises(ValueError, match=r"ids must lie in 0\.\.3"):
            vocab.decode_words([[0, wrong]])


@pytest.mark.parametrize("characters", ["ba", "aa", "a.", "abca"])
def test_a_vocabulary_is_sorted_distinct_and_without_boundary(characters: str) -> None:
    with pytest.raises(InputError):
        Vocabulary(characters)


def test_words_with_a_boundary_make_no_vocabulary() -> None:
    with pytest.raises(InputError, match=r"'\.'"):
        Vocabulary.from_words(["st. john"])


@pytest.mark.parametrize(
    ("size", "dtype"),
    [(1, np.int8), (128, np.int8), (129, np.int16), (32768, np.int16), (32769, np.int32)],
)
def test_ids_take_the_smallest_type_that_holds_them_and_minus_one(size: int, dtype: type) -> None:
    vocab = Vocabulary("".join(map(chr, range(0x10000, 0x10000 + size - 1))))
    ids = vocab.encode("." + vocab.characters[-1:])
    assert vocab.size == size
    assert ids.dtype == dtype
    assert ids.tolist() == sorted({0, size - 1})
    assert np.array(-1, ids.dtype) == -1


# --------------------------------------------------------------------------------------- splits


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


# -------------------------------------------------------------------------------------- windows


def build_dataset(words: list[str], block_size: int) -> tuple[list[list[int]], list[int]]:
    """The loop of seeds 000 to 004, as it stands there."""
    chars = sorted(set("".join(words)))
    stoi = {s: i + 1 for i, s in enumerate(chars)}
    stoi["."] = 0
    X: list[list[int]] = []
    Y: list[int] = []
    for w in words:
        context = [0] * block_size
        for ch in w + ".":
            ix = stoi[ch]
            X.append(context)
            Y.append(ix)
            context = [*context[1:], ix]
    return X, Y


@given(words=words_of_any_kind, block_size=st.integers(1, 12))
def test_windows_are_those_of_the_seeds_loop(words: list[str], block_size: int) -> None:
    vocab = Vocabulary.from_words(words)
    X, Y = context_windows(words, vocab, block_size)
    expected_X, expected_Y = build_dataset(words, block_size)
    assert X.shape == (len(Y), block_size)
    assert Y.shape == (sum(len(word) + 1 for word in words),)
    assert X.dtype == Y.dtype == vocab.encode("").dtype
    assert X.tolist() == expected_X
    assert Y.tolist() == expected_Y


def test_windows_of_the_seeds_first_words() -> None:
    # Printed in seed 002, Out[21], for the first two of its words.
    vocab = Vocabulary("abcdefghijklmnopqrstuvwxyz")
    X, Y = context_windows(["emma", "olivia"], vocab, 3)
    assert X.tolist() == [
        [0, 0, 0],
        [0, 0, 5],
        [0, 5, 13],
        [5, 13, 13],
        [13, 13, 1],
        [0, 0, 0],
        [0, 0, 15],
        [0, 15, 12],
        [15, 12, 9],
        [12, 9, 22],
        [9, 22, 9],
        [22, 9, 1],
    ]
    assert Y.tolist() == [5, 13, 13, 1, 0, 15, 12, 9, 22, 9, 1, 0]


def test_no_words_and_empty_words_have_windows_too() -> None:
    X, Y = context_windows([], Vocabulary("a"), 3)
    assert X.shape == (0, 3)
    assert Y.shape == (0,)
    X, Y = context_windows([""], Vocabulary("a"), 3)
    assert X.tolist() == [[0, 0, 0]]
    assert Y.tolist() == [0]


def test_windows_are_arrays_of_their_own() -> None:
    X, Y = context_windows(["ab"], Vocabulary("ab"), 2)
    X[:] = 1
    Y[:] = -1
    assert X.flags.c_contiguous


@pytest.mark.parametrize("block_size", [0, -3])
def test_a_context_holds_at_least_one_character(block_size: int) -> None:
    with pytest.raises(InputError, match=f"at least 1, got {block_size}"):
        context_windows(["ab"], Vocabulary("ab"), block_size)
    with pytest.raises(InputError, match=f"at least 1, got {block_size}"):
        trace_windows("ab", block_size)


def test_a_word_with_the_boundary_has_no_windows() -> None:
    with pytest.raises(InputError, match=r"'a\.b'"):
        context_windows(["b", "a.b"], Vocabulary("ab"), 3)
    with pytest.raises(InputError, match=r"'a\.b'"):
        trace_windows("a.b", 3)


def test_a_word_of_another_vocabulary_is_refused() -> None:
    with pytest.raises(InputError, match="unknown character 'c'"):
        context_windows(["ab", "abc"], Vocabulary("ab"), 3)


def test_trace_prints_what_seed_002_prints() -> None:
    assert trace_windows("olivia", 3) == [
        "olivia",
        "... ------> o",
        "..o ------> l",
        ".ol ------> i",
        "oli ------> v",
        "liv ------> i",
        "ivi ------> a",
        "via ------> .",
    ]
    assert trace_windows("é", 1) == ["é", ". ------> é", "é ------> ."]
    assert trace_windows("", 2) == ["", ".. ------> ."]


@given(word=st.text(letters, max_size=8), block_size=st.integers(1, 12))
def test_trace_spells_the_windows(word: str, block_size: int) -> None:
    vocab = Vocabulary.from_words([word])
    X, Y = context_windows([word], vocab, block_size)
    lines = [f"{vocab.decode(x)} ------> {vocab.decode([y])}" for x, y in zip(X, Y, strict=True)]
    assert trace_windows(word, block_size) == [word, *lines]


# -------------------------------------------------------------------------- golden: seeds' names


def test_golden_counts(seed_names: Path) -> None:
    words = read_words(seed_names)
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


def test_golden_unique_names_share_no_word(seed_names: Path) -> None:
    assert seen_in_train(split_words(unique_words(read_words(seed_names)))) == (0, 0)


def test_golden_windows_equal_the_seeds_loop(seed_names: Path) -> None:
    words = read_words(seed_names)
    X, Y = context_windows(words, Vocabulary.from_words(words), 3)
    assert X.shape == (228_146, 3)
    assert X.dtype == Y.dtype == np.int8
    expected_X, expected_Y = build_dataset(words, 3)
    np.testing.assert_array_equal(X, np.array(expected_X))
    np.testing.assert_array_equal(Y, np.array(expected_Y))


def test_golden_windows_are_lean(seed_names: Path) -> None:
    words = read_words(seed_names)
    vocab = Vocabulary.from_words(words)
    tracemalloc.start()
    try:
        _, Y = context_windows(words, vocab, 3)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The result takes 4 bytes a window. The seeds' lists took more than 100.
    assert peak < 12 * len(Y)


# --------------------------------------------------------------------------------------- corpus


def test_the_input_file_comes_first_then_the_environment_then_the_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(corpus, "embedded_corpus", lambda: Path("embedded"))
    monkeypatch.setenv("JAXMORE_NAMES", "from_environment")
    assert corpus_path("given") == Path("given")
    assert corpus_path(Path("given")) == Path("given")
    assert corpus_path("") == Path()  # an empty flag is a mistake to report, not a default
    assert corpus_path() == Path("from_environment")
    monkeypatch.setenv("JAXMORE_NAMES", "")
    assert corpus_path() == Path("embedded")
    monkeypatch.delenv("JAXMORE_NAMES")
    assert corpus_path() == Path("embedded")


def test_the_embedded_corpus_is_found_installed_or_in_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "__file__", str(tmp_path / "jaxmore" / "data" / "words.py"))
    with pytest.raises(InputError) as error:
        embedded_corpus()
    assert "names.txt is missing" in only_line(error)

    in_repository = tmp_path / "data" / "names.txt"
    in_package = tmp_path / "jaxmore" / "data" / "names.txt"
    for path in (in_repository, in_package):  # the one of the package wins
        path.parent.mkdir(parents=True)
        path.write_text("emma\n")
        assert embedded_corpus() == path
