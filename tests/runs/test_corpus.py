"""The inputs that fuzzing kept: each is read, or refused in one line."""

from pathlib import Path

import pytest

from jaxmore.cli import main
from jaxmore.errors import InputError
from tests.faults.fuzz import CORPUS, corpus, text_loaders
from tests.faults.harness import WORDS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "words.txt").write_text("\n".join(WORDS) + "\n", "utf-8")
    small = ["--type", "bengio", "--n-embd2", "5", "-b", "4", "--max-steps", "2"]
    main(["train", "-i", str(folder / "words.txt"), "-o", str(folder / "out"), *small])
    return folder


@pytest.mark.parametrize("name", sorted(path.name for path in CORPUS.iterdir()))
@pytest.mark.slow
def test_every_kept_input_is_read_or_refused_in_one_line(folder: Path, name: str) -> None:
    path, load = text_loaders(folder / "out", folder / "words.txt")[name]
    whole = path.read_bytes()
    for content in corpus(name):
        path.write_bytes(content)
        answer = ""
        try:
            load()
        except InputError as error:
            answer = str(error)
        assert "\n" not in answer, content
    path.write_bytes(whole)
    load()
