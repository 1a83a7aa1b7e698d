"""Every type of the ladder, tiny: stopped and resumed it ends with the bits of the whole run."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.backprop import loss_and_grad
from jaxmore.data import Vocabulary, sequences
from jaxmore.models import MODELS, mlp
from jaxmore.runs.checkpoints import latest_checkpoint, restore, write_checkpoint
from jaxmore.runs.config import TrainConfig
from jaxmore.runs.preparation import prepare
from jaxmore.runs.prepared import PreparedRun
from jaxmore.training.evaluation import calibrate, mean_loss
from jaxmore.training.loop import Chunk, TrainState, copy_state, train

SIZES = {
    "mlp-bn": {"n_embd": 2, "n_embd2": 3},
    "bengio": {"n_embd2": 3},
    "deep-mlp-bn": {"n_embd": 2, "n_embd2": 3, "n_layer": 2},
    "wavenet": {"n_embd": 2, "n_embd2": 3, "block_size": 4},
    "bigram": {},
    "mlp": {"n_embd": 2, "n_embd2": 3, "block_size": 7},
    "bow": {"n_embd": 2, "n_embd2": 3},
    "rnn": {"n_embd": 2, "n_embd2": 3},
    "gru": {"n_embd": 2, "n_embd2": 3},
    "lstm": {"n_embd": 2, "n_embd2": 3},
    "transformer": {"n_embd": 4, "n_head": 2, "n_layer": 1},
    "microgpt": {"n_embd": 4, "n_head": 2},
}


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("words") / "words.txt"
    path.write_text(
        "\n".join(a + b for a in ("ka", "mi", "ro", "ta") for b in ("", "no", "li")),
        encoding="utf-8",
    )
    return path


def steps(task: PreparedRun, state: TrainState, first: int, last: int) -> Chunk:
    X, Y = (jnp.array(a) for a in task.data["train"])
    *_, chunk = train(
        task.model,
        task.optimizer,
        copy_state(state),
        X,
        Y,
        task.keys[1],
        batch_size=5,
        max_steps=last,
        chunk_size=2,
        first_step=first,
    )
    return chunk


def test_no_type_is_missing() -> None:
    assert SIZES.keys() == MODELS.keys()


@pytest.mark.parametrize("type", SIZES)
@pytest.mark.quick("bigram")
def test_stopped_and_resumed_is_the_whole_run(words, tmp_path, type) -> None:
    options = {"type": type, "batch_size": 5, "max_steps": 4}
    if type == "bengio":  # the optimiser with the most state: moments, counts, skipped steps
        options |= {"schedule": "cosine", "warmup_steps": 1, "clip_norm": 1.0, "on_nan": "skip"}
    task = prepare(TrainConfig(**options, optimizer="adamw", **SIZES[type]), words)
    whole = steps(task, task.first_state(), 0, 4)
    half = steps(task, task.first_state(), 0, 2)
    write_checkpoint(tmp_path, 2, jax.tree.map(np.array, half.state), {})
    checkpoint, _ = latest_checkpoint(tmp_path)
    assert checkpoint is not None
    rest = steps(task, restore(checkpoint.path, task.state_shapes()), 2, 4)
    np.testing.assert_array_equal(rest.losses, whole.losses)
    assert rest.update_to_data == whole.update_to_data
    early, ours, theirs = map(jax.tree.leaves, (half.state, rest.state, whole.state))
    for resumed, expected in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(resumed, expected)
    assert any((a != b).any() for a, b in zip(early, theirs, strict=True))


@pytest.mark.parametrize(("n_characters", "dtype"), [(127, "int8"), (128, "int16")])
@pytest.mark.slow
def test_the_blank_of_makemores_mlp_beyond_int8(n_characters, dtype) -> None:
    """The ids of 127 characters fit in int8, the BLANK after them does not: as in int32."""
    vocab = Vocabulary("".join(map(chr, range(0x4E00, 0x4E00 + n_characters))))
    X, Y = sequences([vocab.characters[i : i + 5] for i in range(0, n_characters, 5)], vocab)
    assert X.dtype == Y.dtype == dtype
    assert X.max() == n_characters
    model = mlp(vocab.size, block_size=3, n_embd=2, n_embd2=3)
    params = model.init(jax.random.key(0))
    step, found = jax.jit(loss_and_grad, static_argnums=0), []
    for x, y in ((X, Y), (X.astype("int32"), Y.astype("int32"))):
        loss, grads = step(model, params, jnp.array(x), jnp.array(y))
        assert float(jnp.abs(grads["embedding"]["weight"][-1]).sum()) > 0  # of the blank
        assert mean_loss(model, params, calibrate(model, params, x), x, y) == pytest.approx(
            float(loss), rel=1e-6
        )
        found.append(jax.tree.leaves((loss, grads)))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)
