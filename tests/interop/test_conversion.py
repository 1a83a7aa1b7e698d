"""`convert` both ways: the same logits on both sides, the record, and what is refused."""

import json
import os
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore import cli
from jaxmore.data import Vocabulary, context_windows, sequences, split_like_makemore
from jaxmore.errors import InputError
from jaxmore.interop import convert, read_torch_file, to_makemore, write_torch_file
from jaxmore.layers import by_path
from jaxmore.models import model_options
from jaxmore.runs.trained import Trained, load
from tests.interop.sizes import SIZES, TYPES, WORDS, T, V, weights
from tests.refusals import only_line


@pytest.fixture(scope="module")
def makemore() -> ModuleType:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    from tests.interop import makemore

    return makemore


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("\n".join(WORDS), encoding="utf-8")
    return path


@pytest.fixture
def bigram(words: Path, tmp_path: Path) -> Trained:
    """A model in ours.pt, and converted in the folder "ours"."""
    write_torch_file(tmp_path / "ours.pt", to_makemore("bigram", *weights("bigram")))
    return convert(tmp_path / "ours.pt", tmp_path / "ours", input_file=words)


def logits(saved: Trained, ids: np.ndarray) -> np.ndarray:
    apply = jax.jit(saved.model.apply)
    return np.asarray(apply(saved.params, saved.stats, jnp.array(ids)))


@pytest.mark.parametrize("type", TYPES)
@pytest.mark.quick("mlp")
def test_from_makemore_and_back(
    makemore: ModuleType, words: Path, tmp_path: Path, type: str
) -> None:
    torch, module = makemore.torch, makemore.make(type)
    torch.save(module.state_dict(), tmp_path / "model.pt")
    saved = convert(tmp_path / "model.pt", tmp_path / "out", input_file=words, n_head=3)

    # The same model:
    assert saved.type == type
    assert saved.vocab.size == V
    sizes = {"block_size": T, **SIZES}
    assert saved.options == {name: sizes[name] for name in model_options(type)}
    X, _ = sequences(WORDS, saved.vocab)
    with torch.no_grad():
        for ids in (X, np.random.default_rng(0).integers(0, V, (3, T - 2))):
            expected = module(torch.tensor(ids).long()).numpy()
            np.testing.assert_allclose(logits(saved, ids), expected, rtol=0, atol=1e-5)
            assert expected.std() > 0.1

    # The same numbers, and nothing else but the masks:
    n_theirs = sum(parameter.numel() for parameter in module.parameters())
    assert sum(leaf.size for leaf in by_path(saved.params).values()) == n_theirs
    convert(tmp_path / "out", tmp_path / "back.pt")
    back = torch.load(tmp_path / "back.pt", weights_only=True)
    state = module.state_dict()
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)
    other = makemore.make(type)
    for parameter in other.parameters():
        parameter.data.zero_()
    other.load_state_dict(torch.load(tmp_path / "back.pt"))
    with torch.no_grad():
        ids = torch.tensor(X).long()
        assert torch.equal(other(ids.clone()), module(ids.clone()))


def test_the_record_says_where_it_comes_from(bigram: Trained, words: Path, tmp_path: Path) -> None:
    saved = bigram
    assert load(tmp_path / "ours").record == saved.record
    assert saved.record["data"]["file"] == str(words)
    assert saved.record["data"]["longest_word"] == 4
    assert saved.record["training"]["converted_from"] == str(tmp_path / "ours.pt")
    assert (
        json.loads((tmp_path / "ours" / "config.json").read_text(encoding="utf-8"))["type"]
        == "bigram"
    )


def test_nothing_is_replaced_unasked(bigram: Trained, words: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds a run: --overwrite"):
        convert(tmp_path / "ours.pt", tmp_path / "ours", input_file=words)
    with pytest.raises(InputError, match=r"ours\.pt exists already: --overwrite"):
        convert(tmp_path / "ours", tmp_path / "ours.pt")
    changed = {"logits": np.ones((V, V), np.float32)}
    write_torch_file(tmp_path / "ones.pt", changed)
    ones = convert(tmp_path / "ones.pt", tmp_path / "ours", input_file=words, overwrite=True)
    assert not np.array_equal(ones.params["logits"]["weight"], bigram.params["logits"]["weight"])
    convert(tmp_path / "ours", tmp_path / "ours.pt", overwrite=True)
    np.testing.assert_array_equal(read_torch_file(tmp_path / "ours.pt")["logits"], 1)


@pytest.mark.usefixtures("bigram")
def test_other_words_are_not_the_models(words: Path, tmp_path: Path) -> None:
    words.write_text("ab\n", encoding="utf-8")
    with pytest.raises(InputError, match="trained on 13 characters") as error:
        convert(tmp_path / "ours.pt", tmp_path / "new", input_file=words)
    assert "has 2: name its words with -i" in only_line(error)
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("bigram")
def test_files_that_are_missing_or_in_the_way(words: Path, tmp_path: Path) -> None:
    os.mkdir(tmp_path / "empty")
    for source, target, message in [
        ("nowhere.pt", "new", r"cannot read .*nowhere\.pt.*No such file"),
        ("words.txt", "new", r"no \.pt file"),
        ("ours.pt", "words.txt", "cannot write"),
        ("ours", "nowhere/new.pt", "cannot write"),
        ("empty", "new.pt", "holds no trained model"),
    ]:
        with pytest.raises(InputError, match=message) as error:
            convert(tmp_path / source, tmp_path / target, input_file=words)
        only_line(error)
    assert not (tmp_path / "new").exists()


# ----------------------------------------------------------------------- the words of the model


@pytest.mark.parametrize("type", ["mlp", "transformer"])
@pytest.mark.quick("mlp")
def test_a_full_stop_is_a_letter_on_both_sides(
    makemore: ModuleType, words: Path, tmp_path: Path, type: str
) -> None:
    words.write_text("st. ives\ne.g.\n.net\n", encoding="utf-8")  # the boundary and 9 characters
    module = makemore.make(type, V=10, T=9)
    makemore.torch.save(module.state_dict(), tmp_path / "model.pt")
    saved = convert(tmp_path / "model.pt", tmp_path / "out", input_file=words, n_head=3)
    assert saved.vocab.characters == " .eginstv"
    X, _ = sequences(["e.g.", ".net"], saved.vocab, 9)
    assert X[1].tolist()[:5] == [0, 2, 6, 3, 8]
    with makemore.torch.no_grad():
        expected = module(makemore.torch.tensor(X).long()).numpy()
    np.testing.assert_allclose(logits(saved, X), expected, rtol=0, atol=1e-5)
    convert(tmp_path / "out", tmp_path / "back.pt")
    back, state = makemore.torch.load(tmp_path / "back.pt"), module.state_dict()
    assert all(makemore.torch.equal(back[name], state[name]) for name in state)


def test_words_are_read_as_makemore_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes("\ufeffab\u2028ba\x0cabb\n".encode())  # three words; U+FEFF is a letter
    write_torch_file(tmp_path / "m.pt", {"logits": np.ones((4, 4), np.float32)})
    saved = convert(tmp_path / "m.pt", tmp_path / "out", input_file=path)
    assert saved.vocab.characters == "ab\ufeff"
    assert saved.record["data"]["longest_word"] == 3


def test_the_seed_decides_the_words_held_out(tmp_path: Path, capsys) -> None:
    path = tmp_path / "words.txt"
    words = [f"{a}{b}{c}" for a in "abcd" for b in "abcd" for c in "abcd"]
    path.write_text("\n".join(words), encoding="utf-8")
    write_torch_file(tmp_path / "m.pt", {"logits": np.zeros((5, 5), np.float32)})
    for flags, seed in ([], 3407), (["--seed", "7"], 7):
        model, folder = str(tmp_path / "m.pt"), str(tmp_path / f"out{seed}")
        cli.main(["convert", "--from", model, "--to", folder, "-i", str(path), *flags])
        capsys.readouterr()
        cli.main(["sample", "-o", folder, "-n", "300"])
        held_out = split_like_makemore(words, seed).test
        for line in capsys.readouterr().out.splitlines():
            word, mark = line[:20].strip(), line[21:]
            known = "in dev/test" if word in held_out else "in train"
            assert mark == (known if word in words else "new")


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1])
def test_seeds_that_torch_does_not_take(words: Path, tmp_path: Path, seed: int) -> None:
    write_torch_file(tmp_path / "m.pt", to_makemore("bigram", *weights("bigram")))
    with pytest.raises(InputError, match="--seed must lie in"):
        convert(tmp_path / "m.pt", tmp_path / "out", input_file=words, seed=seed)
    assert not (tmp_path / "out").exists()


def test_another_alphabet_of_the_same_size_is_noted(tmp_path: Path, capsys) -> None:
    def trained_on(words: list[str]) -> np.ndarray:
        vocab = Vocabulary.from_words(words)
        X, Y = context_windows(words, vocab, 1)
        counts = np.zeros((vocab.size, vocab.size))
        np.add.at(counts, (X[:, 0], Y), 1)
        return np.log(counts + 0.1).astype(np.float32)

    own, other = ["ab", "abab", "cab"] * 4, ["xyz", "zyyx", "xzy"] * 4
    write_torch_file(tmp_path / "m.pt", {"logits": trained_on(own)})
    for name, words in ("own", own), ("other", other):
        (tmp_path / name).write_text("\n".join(words), encoding="utf-8")
        convert(tmp_path / "m.pt", tmp_path / f"of-{name}", input_file=tmp_path / name)
        noted = capsys.readouterr().err
        assert ("no better than chance" in noted) == (name == "other")
        assert noted.count("\n") == (name == "other")


@pytest.mark.parametrize(("longest", "told"), [(6, "has one of 6"), (3, "and no word has over 3")])
def test_a_block_size_of_other_words(tmp_path: Path, capsys, longest: int, told: str) -> None:
    path = tmp_path / "words.txt"
    path.write_text(
        "\n".join(["abcdefghijklm"[i : i + longest] for i in range(14 - longest)]), encoding="utf-8"
    )
    write_torch_file(tmp_path / "m.pt", to_makemore("mlp", *weights("mlp")))  # T = 5
    if longest < 5:
        convert(tmp_path / "m.pt", tmp_path / "out", input_file=path)
        assert told in capsys.readouterr().err
        return
    with pytest.raises(InputError, match=told) as error:
        convert(tmp_path / "m.pt", tmp_path / "out", input_file=path)
    only_line(error)
    assert not (tmp_path / "out").exists()
