"""makemore.py's weights: there and back bit for bit, and the same logits on both sides."""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.data import sequences
from jaxmore.errors import InputError
from jaxmore.interop.state_dict import BLOCK, SIGNS, TABLES, convert, from_makemore, to_makemore
from jaxmore.interop.torch_reader import read_torch_file, write_torch_file
from jaxmore.layers import Tree, by_path
from jaxmore.models import MODELS, model_options
from jaxmore.runs.trained import SavedModel, load_model
from tests.refusals import only_line

TYPES = ["bigram", "mlp", "bow", "rnn", "gru", "lstm", "transformer"]
WORDS = ["emma", "ava", "mia", "zoe", "bo", "lucy", "ida"]
V, T = 14, 5  # of these words
SIZES = {"n_embd": 6, "n_embd2": 7, "n_layer": 2, "n_head": 3}


# --------------------------------------------------------------------- makemore.py's state dicts


@pytest.fixture(scope="module")
def makemore() -> SimpleNamespace:
    """makemore.py's models as torch modules, written anew with its names and their order.

    `lstm` is what it would have looked like there.
    """
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    nn = torch.nn

    def tril(*shape: int) -> Any:
        return torch.ones(shape).tril()

    class Bigram(nn.Module):
        def __init__(self, V: int, **_: int) -> None:
            super().__init__()
            self.logits = nn.Parameter(torch.zeros(V, V))

        def forward(self, ids: Any) -> Any:
            return self.logits[ids]

    class Mlp(nn.Module):
        def __init__(self, V: int, T: int, n_embd: int, n_embd2: int, **_: int) -> None:
            super().__init__()
            self.wte = nn.Embedding(V + 1, n_embd)
            self.mlp = nn.Sequential(
                nn.Linear(T * n_embd, n_embd2), nn.Tanh(), nn.Linear(n_embd2, V)
            )
            self.V, self.T = V, T

        def forward(self, ids: Any) -> Any:
            columns = []
            for _ in range(self.T):
                columns.append(self.wte(ids))
                ids = torch.roll(ids, 1, 1)
                ids[:, 0] = self.V
            return self.mlp(torch.cat(columns, -1))

    class Branch(nn.Module):
        """Holds what makemore.py holds in a ModuleDict called mlp."""

        def __init__(self, n_embd: int, n_hidden: int, act: Any) -> None:
            super().__init__()
            self.c_fc = nn.Linear(n_embd, n_hidden)
            self.c_proj = nn.Linear(n_hidden, n_embd)
            self.act = act

        def forward(self, x: Any) -> Any:
            return self.c_proj(self.act(self.c_fc(x)))

    class Masked(nn.Module):
        def __init__(self, *shape: int) -> None:
            super().__init__()
            self.register_buffer("bias", tril(*shape))

    class Bow(nn.Module):
        def __init__(self, V: int, T: int, n_embd: int, n_embd2: int, **_: int) -> None:
            super().__init__()
            self.wte = nn.Embedding(V, n_embd)
            self.wpe = nn.Embedding(T, n_embd)
            self.context_block = nn.Module()
            self.context_block.cbow = Masked(1, T, T)
            self.context_block.mlp = Branch(n_embd, n_embd2, torch.tanh)
            self.lm_head = nn.Linear(n_embd, V)

        def forward(self, ids: Any) -> Any:
            n = ids.shape[1]
            x = self.wte(ids) + self.wpe(torch.arange(n))
            seen = self.context_block.cbow.bias[:, :n, :n] == 1
            x = x + torch.zeros(n, n).masked_fill(~seen, -torch.inf).softmax(-1) @ x
            return self.lm_head(x + self.context_block.mlp(x))

    class Recurrent(nn.Module):
        gates: tuple[str, ...] = ()
        n_states, width = 1, 1

        def __init__(self, V: int, n_embd: int, n_embd2: int, **_: int) -> None:
            super().__init__()
            self.start = nn.Parameter(torch.zeros(self.n_states, n_embd2))
            self.wte = nn.Embedding(V, n_embd)
            self.cell = nn.Module()
            for gate in self.gates:
                linear = nn.Linear(n_embd + n_embd2, self.width * n_embd2)
                self.cell.add_module(f"xh_to_{gate}", linear)
            self.lm_head = nn.Linear(n_embd2, V)

        def forward(self, ids: Any) -> Any:
            state = [row.expand(len(ids), -1) for row in self.start]
            hidden = []
            for x in self.wte(ids).unbind(1):
                state = self.next(x, *state)
                hidden.append(state[0])
            return self.lm_head(torch.stack(hidden, 1))

        def gate(self, name: str, *parts: Any) -> Any:
            return getattr(self.cell, f"xh_to_{name}")(torch.cat(parts, 1))

    class Rnn(Recurrent):
        gates = ("h",)

        def next(self, x: Any, h: Any) -> list[Any]:
            return [self.gate("h", x, h).tanh()]

    class Gru(Recurrent):
        gates = ("z", "r", "hbar")

        def next(self, x: Any, h: Any) -> list[Any]:
            r, z = self.gate("r", x, h).sigmoid(), self.gate("z", x, h).sigmoid()
            return [(1 - z) * h + z * self.gate("hbar", x, r * h).tanh()]

    class Lstm(Recurrent):
        gates, n_states, width = ("ifgo",), 2, 4

        def next(self, x: Any, h: Any, c: Any) -> list[Any]:
            i, f, g, o = self.gate("ifgo", x, h).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            return [o.sigmoid() * c.tanh(), c]

    class Attention(Masked):
        def __init__(self, T: int, n_head: int, n_embd: int) -> None:
            super().__init__(1, 1, T, T)
            self.c_attn = nn.Linear(n_embd, 3 * n_embd)
            self.c_proj = nn.Linear(n_embd, n_embd)
            self.n_head = n_head

        def forward(self, x: Any) -> Any:
            n = x.shape[1]
            q, k, v = (
                part.unflatten(2, (self.n_head, -1)).transpose(1, 2)
                for part in self.c_attn(x).chunk(3, 2)
            )
            scores = q @ k.mT / q.shape[-1] ** 0.5
            scores = scores.masked_fill(self.bias[:, :, :n, :n] == 0, -torch.inf)
            return self.c_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))

    class Block(nn.Module):
        def __init__(self, T: int, n_head: int, n_embd: int) -> None:
            super().__init__()
            self.ln_1 = nn.LayerNorm(n_embd)
            self.attn = Attention(T, n_head, n_embd)
            self.ln_2 = nn.LayerNorm(n_embd)
            self.mlp = Branch(n_embd, 4 * n_embd, nn.GELU("tanh"))

        def forward(self, x: Any) -> Any:
            x = x + self.attn(self.ln_1(x))
            return x + self.mlp(self.ln_2(x))

    class Transformer(nn.Module):
        def __init__(
            self, V: int, T: int, n_layer: int, n_head: int, n_embd: int, **_: int
        ) -> None:
            super().__init__()
            self.transformer = nn.Module()
            self.transformer.wte = nn.Embedding(V, n_embd)
            self.transformer.wpe = nn.Embedding(T, n_embd)
            blocks = [Block(T, n_head, n_embd) for _ in range(n_layer)]
            self.transformer.h = nn.ModuleList(blocks)
            self.transformer.ln_f = nn.LayerNorm(n_embd)
            self.lm_head = nn.Linear(n_embd, V, bias=False)

        def forward(self, ids: Any) -> Any:
            x = self.transformer.wte(ids) + self.transformer.wpe(torch.arange(ids.shape[1]))
            for block in self.transformer.h:
                x = block(x)
            return self.lm_head(self.transformer.ln_f(x))

    classes = [Bigram, Mlp, Bow, Rnn, Gru, Lstm, Transformer]

    def make(type: str, V: int = V, T: int = T, **sizes: int) -> Any:
        """A model of makemore.py's with generic weights; none is zero."""
        torch.manual_seed(0)
        module = dict(zip(TYPES, classes, strict=True))[type](V=V, T=T, **(SIZES | sizes))
        for parameter in module.parameters():
            parameter.data += 0.2 * torch.randn(parameter.shape)
        return module

    return SimpleNamespace(torch=torch, make=make)


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("\n".join(WORDS))
    return path


def weights(type: str, **sizes: int) -> tuple[dict[str, int], Tree]:
    """The options of a model of ours, and generic weights for it."""
    options = {"block_size": T, **SIZES, **sizes}
    options = {name: options[name] for name in model_options(type)}
    shapes = jax.eval_shape(MODELS[type].make(V, **options).init, jax.random.key(0))
    rng = np.random.default_rng(0)
    return options, jax.tree.map(lambda p: rng.normal(size=p.shape).astype("f4"), shapes)


def assert_same_bits(actual: Tree, expected: Tree) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for path, leaf in by_path(expected).items():
        assert np.asarray(by_path(actual)[path]).tobytes() == leaf.tobytes(), path


@pytest.fixture
def bigram(words: Path, tmp_path: Path) -> SavedModel:
    """A model in ours.pt, and converted in the folder "ours"."""
    write_torch_file(tmp_path / "ours.pt", to_makemore("bigram", *weights("bigram")))
    return convert(tmp_path / "ours.pt", tmp_path / "ours", input_file=words)


def logits(saved: SavedModel, ids: np.ndarray) -> np.ndarray:
    apply = jax.jit(saved.model.apply)
    return np.asarray(apply(saved.params, saved.stats, jnp.array(ids)))


# ------------------------------------------------------------------------------- there and back


@pytest.mark.parametrize("type", TYPES)
def test_from_makemore_and_back(
    makemore: SimpleNamespace, words: Path, tmp_path: Path, type: str
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


@pytest.mark.parametrize(
    ("type", "sizes"),
    [
        *((type, {}) for type in TYPES),
        ("transformer", {"n_layer": 1, "n_head": 1}),
        ("transformer", {"n_layer": 11, "n_head": 6}),  # h.10 does not come after h.1
        ("mlp", {"block_size": 1, "n_embd": 1, "n_embd2": 1}),
        ("gru", {"n_embd": 1, "n_embd2": 1}),
    ],
)
def test_to_makemore_and_back(type: str, sizes: dict[str, int]) -> None:
    options, params = weights(type, **sizes)
    tensors = to_makemore(type, options, params)
    converted = from_makemore(tensors, n_head=options.get("n_head", 4))
    assert converted[:3] == (type, V, options)
    assert_same_bits(converted.params, params)
    again = to_makemore(type, converted.options, converted.params)
    assert list(again) == list(tensors)
    assert all(again[name].tobytes() == tensors[name].tobytes() for name in tensors)


@pytest.mark.parametrize("type", TYPES)
def test_the_table_names_every_parameter_once(type: str) -> None:
    options = {"n_layer": 1} if type == "transformer" else {}
    shapes = jax.eval_shape(MODELS[type].make(V, **options).init, jax.random.key(0))
    named = [place.ours for place in TABLES[type]]
    if type == "transformer":
        named += [f"blocks.0.{place.ours}" for place in BLOCK]
    assert sorted(named) == sorted(by_path(shapes))
    assert TYPES == list(TABLES) == list(SIGNS)
    assert [other for other in TYPES if SIGNS[type] in {p.theirs for p in TABLES[other]}] == [type]


def test_the_record_says_where_it_comes_from(
    bigram: SavedModel, words: Path, tmp_path: Path
) -> None:
    saved = bigram
    assert load_model(tmp_path / "ours").record == saved.record
    assert saved.record["data"]["file"] == str(words)
    assert saved.record["data"]["longest_word"] == 4
    assert saved.record["training"]["converted_from"] == str(tmp_path / "ours.pt")
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["type"] == "bigram"


# ------------------------------------------------------------------------------ what is refused


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


def test_types_that_makemore_does_not_have() -> None:
    with pytest.raises(InputError, match=r"makemore\.py has no mlp-bn, only bigram, mlp,"):
        to_makemore("mlp-bn", {}, {})


def broken(tensors: dict[str, np.ndarray], name: str, value: np.ndarray | None) -> Any:
    return {k: v for k, v in (tensors | {name: value}).items() if v is not None}


@pytest.mark.parametrize(
    ("type", "name", "value", "message"),
    [
        ("bigram", "logits", None, "none of makemore.py's models"),
        ("bigram", "extra", np.ones(1), "unknown 'extra'"),
        ("bigram", "logits", np.ones((V, V)), "logits is float64"),
        ("bigram", "logits", np.ones((V, V), np.float16), "logits is float16"),
        ("bigram", "logits", np.ones((V, 2), "f4"), r"float32 \(14, 2\), expected .*\(14, 14\)"),
        ("bigram", "logits", np.ones(V, "f4"), "no matrix 'logits'"),
        ("bigram", "logits", np.ones((0, 0), "f4"), "no matrix 'logits'"),
        ("bigram", "logits", np.full((V, V), np.inf, "f4"), "NaN or infinity"),
        ("mlp", "wte.weight", None, "no matrix 'wte.weight'"),
        ("mlp", "wte.weight", np.ones((V + 1, 4), "f4"), "no multiple of 4"),
        ("mlp", "wte.weight", np.ones((1, 6), "f4"), "expected"),
        ("mlp", "mlp.2.bias", None, "no 'mlp.2.bias'"),
        ("bow", "context_block.cbow.bias", None, "no 'context_block.cbow.bias'"),
        ("bow", "context_block.cbow.bias", np.ones((1, T, T), "f4"), "not the causal mask"),
        ("bow", "context_block.cbow.bias", np.ones(3, "f4"), "not the causal mask of 5"),
        ("bow", "wpe.weight", np.ones((10**6, 6), "f4"), "mask of 1000000 places"),
        ("rnn", "start", np.ones((2, 7), "f4"), r"start .*\(2, 7\), expected float32 \(1, 7\)"),
        ("rnn", "cell.xh_to_h.weight", np.ones((13, 7), "f4"), r"expected float32 \(7, 13\)"),
        ("gru", "cell.xh_to_r.bias", np.ones(8, "f4"), r"cell\.xh_to_r\.bias"),
        ("lstm", "start", np.ones((1, 7), "f4"), "start"),
        ("transformer", "transformer.h.1.ln_1.weight", None, r"unknown 'transformer\.h\.1\."),
        ("transformer", "transformer.h.0.ln_1.weight", None, r"unknown 'transformer\.h\.0\."),
        ("transformer", "lm_head.bias", np.ones(V, "f4"), "unknown 'lm_head.bias'"),
    ],
)
def test_state_dicts_that_are_not_makemores(
    type: str, name: str, value: np.ndarray | None, message: str
) -> None:
    tensors = to_makemore(type, *weights(type))
    with pytest.raises(InputError, match=message) as error:
        from_makemore(broken(tensors, name, value), n_head=3)
    only_line(error)


def test_heads_that_do_not_divide_the_embedding() -> None:
    tensors = to_makemore("transformer", *weights("transformer"))
    with pytest.raises(InputError, match="not a multiple of n_head 4"):
        from_makemore(tensors)
