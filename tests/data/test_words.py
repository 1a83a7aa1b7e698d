"""Files of words: reading them, and what is wrong with them."""

import codecs
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given

from jaxmore.data import (
    corpus_path,
    embedded_corpus,
    read_words,
    unique_words,
)
from jaxmore.data import words as corpus
from jaxmore.errors import InputError
from tests.data.strategies import words_of_any_kind
from tests.refusals import only_line


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
        (b"emma\n\n st. john \n.\n", ["emma", "st. john", "."]),
        ("a\fb\na\u2028b\na\x85b\na\x1cb\n".encode(), ["a\fb", "a\u2028b", "a\x85b", "a\x1cb"]),
    ],
)
def test_reads_what_people_mean(
    write: Callable[[bytes], Path], content: bytes, expected: list[str]
) -> None:
    assert read_words(write(content)) == expected
    assert read_words(str(write(content))) == expected


def as_makemore_reads(path: Path) -> list[str]:
    """makemore.py's own lines."""
    with open(path, encoding="utf-8") as f:
        data = f.read()
    words = data.splitlines()
    words = [w.strip() for w in words]
    return [w for w in words if w]


@pytest.mark.parametrize(
    "content",
    [
        b"emma\nava\n",
        b"emma\r\nava\rmia",
        codecs.BOM_UTF8 + b"emma\nava\n",
        codecs.BOM_UTF8,
        "a\fb\nc\u2028d\ne\x85f\ng\x1ch\ni\x1dj\nk\x1el\nm\vn\no\u2029p\x1fq\n".encode(),
        "\u3000emma \xa0\n \n\f\nava.\n".encode(),
    ],
)
def test_reads_what_makemore_reads(write: Callable[[bytes], Path], content: bytes) -> None:
    path = write(content)
    assert read_words(path, like_makemore=True) == as_makemore_reads(path)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["empty"]),
        (codecs.BOM_UTF8, ["empty"]),
        (b" \n\r\n\t\n", ["only blank lines"]),
        (b"emma\r\nzo\xeb\n", ["line 2", "0xeb", "not UTF-8"]),
        (codecs.BOM_UTF8 + b"emma\nava\nzo\xeb\n", ["line 3", "0xeb"]),
        ("emma\n".encode("utf-16"), ["line 1", "not UTF-8 (UTF-16?)"]),
        ("emma\n".encode("utf-16-le"), ["line 1", "NUL"]),
        (b"emma\n\nav\0a\n", ["line 3", "NUL"]),
        (b"emma\f\fava\r\nmi\0a\n", ["line 2", "NUL"]),
    ],
)
def test_names_what_is_wrong_with_a_file(
    write: Callable[[bytes], Path], content: bytes, parts: list[str]
) -> None:
    for like_makemore in (False, True):
        if like_makemore and content == codecs.BOM_UTF8:  # a letter there
            continue
        with pytest.raises(InputError) as error:
            read_words(write(content), like_makemore=like_makemore)
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
        path.write_text("emma\n", encoding="utf-8")
        assert embedded_corpus() == path
