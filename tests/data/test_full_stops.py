"""Words with a full stop, and with characters that a terminal would obey, from file to samples."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxmore import stepwise
from jaxmore.ninja import notebook_003
from jaxmore.runs.trained import load
from tests.command_line import run

WORDS = [f"{a}. {b}" for a in ("st", "mt", "h.-d", "e.g") for b in ("ives", "ann\x1b[31m", "o'b.")]
SIZES = ["--n-embd", "4", "--n-embd2", "5"]
SMALL = ["--max-steps", "20", "--chunk-size", "20", "-b", "5"]


@pytest.mark.parametrize("type", ["bigram", "mlp-bn", "gru"])
@pytest.mark.quick("bigram")
def test_a_model_of_words_with_full_stops(tmp_path: Path, capsys, type: str) -> None:
    words, out = tmp_path / "words.txt", tmp_path / "out"
    words.write_text("\n".join(WORDS), encoding="utf-8")
    sizes = SIZES if type != "bigram" else []
    run("train", "-i", words, "-o", out, "--type", type, *sizes, *SMALL)
    saved = load(out)
    assert saved.vocab.characters == "".join(sorted(set("".join(WORDS))))
    assert "." in json.loads((out / "config.json").read_text("utf-8"))["vocabulary"]
    printed = capsys.readouterr().out
    run("sample", "-o", out, "--prompt", "e.g. ", "-n", "5")
    samples = capsys.readouterr().out
    assert samples.count("e.g. ") == 5
    run("sample", "-o", out, "-n", "200")
    samples += capsys.readouterr().out
    words.unlink()  # without the words there are no marks, and another line prints the samples
    run("sample", "-o", out, "-n", "200")
    samples += capsys.readouterr().out
    assert "\x1b" not in printed + samples
    assert "\\x1b" in samples


def test_the_notebooks_network_of_words_with_full_stops() -> None:
    inputs = notebook_003(WORDS)
    assert inputs.params.C.shape == (len(set("".join(WORDS))) + 1, 10)
    assert np.isfinite(stepwise.forward(*inputs).loss)
