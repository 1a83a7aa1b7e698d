"""Packs: the same words and examples as in memory, however the packing went."""

import codecs
import contextlib
import json
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmore.data import (
    Pack,
    PackedExamples,
    Vocabulary,
    chunks,
    context_windows,
    cut_sequences,
    is_pack,
    open_pack,
    packing,
    read_words,
    sequences,
    split_words,
    unique_words,
    write_pack,
)
from jaxmore.errors import InputError
from tests.command_line import WORDS, tree
from tests.refusals import only_line

ODD = [*WORDS, "mary ann", "zoë", "é", "🦊🦊", "a\u2028b", "x" * 70, *WORDS[:9], "x" * 70, "."]
LINES = codecs.BOM_UTF8 + b"\n\n \r\n" + "\r\n".join(f" {w}\t\n" for w in ODD * 3).encode()
"""As read_words takes them: a byte order mark, blanks, blank lines, two kinds of line end."""


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_bytes(LINES)
    return path


def words_of(pack: Pack) -> dict[str, list[str]]:
    itos = ["", *pack.vocab.characters]
    return {
        split: [
            "".join(itos[i] for i in word)
            for word in np.split(pack.ids[split], pack.ends[split][:-1].astype(int))
        ]
        for split in pack.ids
    }


def assert_examples_are_those_of(pack: Pack, split: str, words: list[str]) -> None:
    """Compare windows, sequences and cut sequences with those made in memory."""
    longest = pack.longest_word + 1
    for T in (1, 3, 8):
        assert_equal(PackedExamples(pack, split, True, T), context_windows(words, pack.vocab, T))
    assert_equal(PackedExamples(pack, split, False, longest), sequences(words, pack.vocab, longest))
    assert_equal(PackedExamples(pack, split, False, 4), cut_sequences(words, pack.vocab, 4))


def assert_equal(packed: PackedExamples, expected: tuple[np.ndarray, np.ndarray]) -> None:
    order = np.random.default_rng(0).permutation(len(packed))
    assert len(packed) == len(expected[0])
    for ours, theirs in zip(packed[order], expected, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs[order])


@pytest.mark.parametrize("unique", [False, True])
def test_a_small_file_is_split_as_in_memory(lines: Path, tmp_path: Path, unique: bool) -> None:
    pack = write_pack(lines, tmp_path / "pack", unique=unique)
    words = read_words(lines)
    splits = split_words(unique_words(words) if unique else words)._asdict()
    assert words_of(pack) == splits
    assert pack.vocab == Vocabulary.from_words(words)
    for split, its in splits.items():
        assert_examples_are_those_of(pack, split, its)


@pytest.mark.parametrize("unique", [False, True])
def test_a_large_file_is_packed_in_chunks(lines: Path, tmp_path: Path, unique: bool) -> None:
    pack = write_pack(lines, tmp_path / "pack", unique=unique, chunk=50)
    words = read_words(lines)
    words = unique_words(words) if unique else words
    splits = words_of(pack)
    assert sorted(chain(*splits.values())) == sorted(words)
    assert pack.vocab == Vocabulary.from_words(words)
    assert pack.longest_word == 70
    for split, its in splits.items():
        assert_examples_are_those_of(pack, split, its)
        if unique:  # in the order of the file
            assert its == [word for word in words if word in its]
    other = write_pack(lines, tmp_path / "other", unique=unique, chunk=333)
    assert tree(other.path) == tree(pack.path)


@given(st.lists(st.text(st.sampled_from("ab \t\u2003\n\r\ufeffé"), max_size=6), min_size=1))
def test_lines_are_cleaned_as_read_words_cleans_them(lines: list[str]) -> None:
    text = "\n".join(lines).replace("\r", "\n")
    words = [word for line in text.split("\n") if (word := line.strip())]
    codes = chunks._words_only(text)
    assert "".join(map(chr, codes)) == "".join(f"{word}\n" for word in words)


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("unique", [False, True])
@pytest.mark.quick("True")
def test_killed_packing_goes_on(lines: Path, tmp_path: Path, monkeypatch, unique: bool) -> None:
    monkeypatch.setattr(packing, "CHUNKS_PER_SAVE", 2)
    whole = write_pack(lines, tmp_path / "whole", unique=unique, chunk=50)
    append, survey = packing._Sections.append, packing._survey
    calls = surveys = 0

    def append_or_die(self, *args) -> None:
        nonlocal calls
        calls += 1
        append(self, *args)
        if calls % 10 == 0:
            for file in (*self._ids, *self._ends):
                file.flush()
            raise Killed

    def count(*args):
        nonlocal surveys
        surveys += 1
        return survey(*args)

    monkeypatch.setattr(packing._Sections, "append", append_or_die)
    monkeypatch.setattr(packing, "_survey", count)
    for _ in range(100):
        try:
            pack = write_pack(lines, tmp_path / "pack", unique=unique, chunk=50)
            break
        except Killed:
            assert not (tmp_path / "pack").exists()
    assert surveys == 1
    assert calls > 20
    assert tree(pack.path) == tree(whole.path)


def test_killed_while_it_tidies_up_packing_goes_on(
    lines: Path, tmp_path: Path, monkeypatch
) -> None:
    whole = write_pack(lines, tmp_path / "whole", unique=True, chunk=50)
    unlink, part = Path.unlink, tmp_path / "pack.part"
    lives = 0

    def unlink_or_die(path: Path, missing_ok: bool = False) -> None:
        nonlocal left
        if path.parent == part and path.exists() and not path.name.startswith("hashes"):
            left -= 1
            if left < 0:
                raise Killed
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink_or_die)
    while not (tmp_path / "pack").exists():
        left = lives
        lives += 1
        with contextlib.suppress(Killed):
            write_pack(lines, tmp_path / "pack", unique=True, chunk=50)
    assert lives > 2
    assert tree(tmp_path / "pack") == tree(whole.path)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_no_chunk_is_longer_than_it_must_be(tmp_path: Path, end: bytes) -> None:
    file = tmp_path / "words.txt"
    file.write_bytes(b"ava" + end + end.join([b"mia"] * 100) + b"\r")
    with open(file, "rb") as stream:
        lines = [*chunks._whole_lines(stream, 10)]
    assert b"".join(lines) == file.read_bytes()
    assert max(map(len, lines)) < 20
    assert all(line.endswith(end) for line in lines[:-1])


def test_another_file_is_packed_anew(lines: Path, tmp_path: Path, monkeypatch) -> None:
    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(packing, "_finish", die)
        with pytest.raises(Killed):
            write_pack(lines, tmp_path / "pack", chunk=50)
    lines.write_text("\n".join(WORDS), "utf-8")
    pack = write_pack(lines, tmp_path / "pack", chunk=50)
    assert sorted(chain(*words_of(pack).values())) == sorted(WORDS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pack", "words.txt"]


@pytest.mark.parametrize("name", [packing.HEADER, *packing.FILES])
@pytest.mark.parametrize("damage", ["truncated", "changed", "missing"])
def test_a_damaged_pack_is_named(lines: Path, tmp_path: Path, name: str, damage: str) -> None:
    path = write_pack(lines, tmp_path / "pack").path / name
    content = path.read_bytes()
    path.unlink()
    if damage == "truncated":
        path.write_bytes(content[:-1])
    elif damage == "changed":
        at = len(content) // 2
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with pytest.raises(InputError) as error:
        open_pack(tmp_path / "pack")
    assert name in only_line(error)


def test_a_header_of_another_meaning_is_refused(lines: Path, tmp_path: Path) -> None:
    header = write_pack(lines, tmp_path / "pack").path / packing.HEADER
    changed = json.loads(header.read_bytes()) | {"unique": True}
    header.write_text(json.dumps(changed, indent=2, ensure_ascii=False) + "\n", "utf-8")
    with pytest.raises(InputError, match="changed"):
        open_pack(tmp_path / "pack")


@pytest.mark.parametrize(
    ("content", "chunk", "expected"),
    [
        (b"ava\n" * 30 + b"\xff\n", 10, "line 31: byte 0xff is not UTF-8"),
        (b"ava\n" * 30 + b"\0\n", 10, "line 31: a NUL character"),
        (b"ava\n" * 30 + b"\xff\n", packing.CHUNK, "line 31: byte 0xff is not UTF-8"),
        (b"\n" * 30, 10, "only blank lines"),
        (b"ava\n" * 3, 10, "3 words split 0.8 / 0.1 / 0.1: the dev split is empty"),
    ],
)
def test_what_cannot_be_packed_leaves_nothing(
    tmp_path: Path, content: bytes, chunk: int, expected: str
) -> None:
    words = tmp_path / "words.txt"
    words.write_bytes(content)
    for unique in (False, True):
        with pytest.raises(InputError) as error:
            write_pack(words, tmp_path / "pack", chunk=chunk, unique=unique)
        assert expected in only_line(error)
    assert tree(tmp_path) == {"words.txt": content}


def test_a_file_that_changes_while_it_is_packed_is_refused(
    lines: Path, tmp_path: Path, monkeypatch
) -> None:
    survey = packing._survey

    def survey_and_change(*args):
        state = survey(*args)
        lines.write_bytes(LINES + b"another\n")
        return state

    monkeypatch.setattr(packing, "_survey", survey_and_change)
    with pytest.raises(InputError, match="was changed while it was packed"):
        write_pack(lines, tmp_path / "pack", chunk=50)
    assert [*tree(tmp_path)] == ["words.txt"]


def test_nothing_is_overwritten(lines: Path, tmp_path: Path) -> None:
    pack = write_pack(lines, tmp_path / "pack")
    before = tree(tmp_path)
    with pytest.raises(InputError, match="exists already"):
        write_pack(lines, pack.path)
    with pytest.raises(InputError, match="No such file"):
        write_pack(tmp_path / "none.txt", tmp_path / "other")
    assert tree(tmp_path) == before
    assert is_pack(pack.path)
    assert not is_pack(lines)
