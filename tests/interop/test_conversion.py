"""`convert` both ways: the same logits on both sides, the record, and what is refused."""

import json
import os
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.data import sequences
from jaxmore.errors import InputError
from jaxmore.interop import convert, read_torch_file, to_makemore, write_torch_file
from jaxmore.layers import by_path
from jaxmore.models import model_options
from jaxmore.runs.trained import SavedModel, load_model
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
    path.write_text("\n".join(WORDS))
    return path


@pytest.fixture
def bigram(words: Path, tmp_path: Path) -> SavedModel:
    """A model in ours.pt, and converted in the folder "ours"."""
    write_torch_file(tmp_path / "ours.pt", to_makemore("bigram", *weights("bigram")))
    return convert(tmp_path / "ours.pt", tmp_path / "ours", input_file=words)


def logits(saved: SavedModel, ids: np.ndarray) -> np.ndarray:
    apply = jax.jit(saved.model.apply)
    return np.asarray(apply(saved.params, saved.stats, jnp.array(ids)))


@pytest.mark.parametrize("type", TYPES)
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


def test_the_record_says_where_it_comes_from(
    bigram: SavedModel, words: Path, tmp_path: Path
) -> None:
    saved = bigram
    assert load_model(tmp_path / "ours").record == saved.record
    assert saved.record["data"]["file"] == str(words)
    assert saved.record["data"]["longest_word"] == 4
    assert saved.record["training"]["converted_from"] == str(tmp_path / "ours.pt")
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["type"] == "bigram"


def test_nothing_is_replaced_unasked(bigram: SavedModel, words: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds a run: --overwrite"):
        convert(tmp_path / "ours.pt", tmp_path / "ours", input_file=words)
    with pytest.raises(InputError, match=r"ours\.pt exists: --overwrite"):
        convert(tmp_path / "ours", tmp_path / "ours.pt")
    changed = {"logits": np.ones((V, V), np.float32)}
    write_torch_file(tmp_path / "ones.pt", changed)
    ones = convert(tmp_path / "ones.pt", tmp_path / "ours", input_file=words, overwrite=True)
    assert not np.array_equal(ones.params["logits"]["weight"], bigram.params["logits"]["weight"])
    convert(tmp_path / "ours", tmp_path / "ours.pt", overwrite=True)
    np.testing.assert_array_equal(read_torch_file(tmp_path / "ours.pt")["logits"], 1)


@pytest.mark.usefixtures("bigram")
def test_other_words_are_not_the_models(words: Path, tmp_path: Path) -> None:
    words.write_text("ab\n")
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
