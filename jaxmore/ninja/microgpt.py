"""microgpt replayed: the losses and names of Karpathy's 200 lines, by the hand-derived rules.

The original is pure Python with a scalar autograd. This replay draws the same numbers from the
same random stream (``random.seed(42)``) and trains in float64 with the rules of jaxmore. The
boundary is the last id of microgpt and the first id here, so ids and the rows of the token
embedding and of the head are permuted. Weights here are (in, out); microgpt's are transposed.
"""

import hashlib
import random
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from jaxmore.backprop import loss_and_grad
from jaxmore.data import NAMES_SHA256, Vocabulary, sequences
from jaxmore.errors import InputError
from jaxmore.layers import Tree, count_parameters
from jaxmore.models import microgpt
from jaxmore.ninja.figures import Figure

SEED = 42
BLOCK_SIZE, N_EMBD = 16, 16
N_STEPS, LEARNING_RATE = 1000, 0.01
N_SAMPLES, TEMPERATURE = 20, 0.5

PRINTED_LOSSES = {
    1: 3.3659669475848504,
    2: 3.4242727838717717,
    3: 3.177802125458052,
    4: 3.066355684224198,
    5: 3.220883089750623,
    10: 3.2228882401182624,
    20: 2.74528539365564,
    50: 2.4049823340767382,
    100: 3.366930921178914,
    200: 2.309743303751621,
    500: 2.0644662067274577,
    1000: 2.6496944697407585,
}
"""The loss of the original at some steps, counted from 1."""
PRINTED_MEANS = {N_STEPS: 2.451675722389568, 50: 2.32330646522449}
"""The mean loss of the original over its last steps."""
PRINTED_NAMES = (
    "kamon ann karai jaire vialan karia yeran anna areli kaina konna keylen liole alerin earan "
    "lenne kana lara alela anton"
)


class Run(NamedTuple):
    """A run of microgpt: the loss of each step and the names it samples at the end."""

    losses: Float[np.ndarray, " S"]
    names: list[str]


def replay_microgpt(words: Sequence[str]) -> list[Figure]:
    """Replay microgpt and compare its losses and names with those of the original.

    Args:
        words: the notebooks' 32,033 names, in the order of their file.

    Returns:
        The figures, with losses to nine decimals.

    Raises:
        InputError: if the words differ. Each figure depends on them.
    """
    if hashlib.sha256("\n".join(words).encode()).hexdigest() != NAMES_SHA256:
        raise InputError(
            "the figures of microgpt need the notebooks' 32,033 names (jaxmore data --download), "
            f"not these {len(words):,} words"
        )
    losses, names = run_microgpt(words)
    figures = [("parameters", "4,192", f"{count_parameters(microgpt(27)):,}")]
    figures += [
        (f"loss of step {step}", f"{printed:.9f}", f"{losses[step - 1]:.9f}")
        for step, printed in PRINTED_LOSSES.items()
    ]
    figures += [
        (f"mean loss of the last {n}", f"{printed:.9f}", f"{losses[-n:].mean():.9f}")
        for n, printed in PRINTED_MEANS.items()
    ]
    figures += [
        (f"sample {i}", printed, name)
        for i, (printed, name) in enumerate(zip(PRINTED_NAMES.split(), names, strict=True), 1)
    ]
    return [Figure("microgpt", *figure) for figure in figures]


def run_microgpt(words: Sequence[str], n_steps: int = N_STEPS) -> Run:
    """Train microgpt in float64 as the original does, and sample names from it.

    Args:
        words: at most 15 characters each.
        n_steps: the number of steps, with one word each. The learning rate falls linearly to zero.
    """
    stream = random.Random(SEED)
    docs = list(words)
    stream.shuffle(docs)
    vocab = Vocabulary.from_words(words)
    with jax.enable_x64(True):
        params = draw_parameters(stream, vocab.size)
        # Padding to 16 positions with ignored targets gives all words one shape.
        batches = sequences([docs[i % len(docs)] for i in range(n_steps)], vocab, BLOCK_SIZE)
        params, losses = _train(params, *map(jnp.asarray, batches))
        return Run(np.asarray(losses), _sample(params, vocab, stream))


def draw_parameters(stream: random.Random, vocab_size: int) -> Tree:
    """Draw the parameters in microgpt's order, and arrange them as :func:`microgpt` has them."""

    def matrix(n_out: int, n_in: int) -> Float[np.ndarray, "O I"]:
        return np.array([[stream.gauss(0, 0.08) for _ in range(n_in)] for _ in range(n_out)])

    wte, wpe, lm_head = (matrix(n, N_EMBD) for n in (vocab_size, BLOCK_SIZE, vocab_size))
    wq, wk, wv, wo = (matrix(N_EMBD, N_EMBD) for _ in range(4))
    fc1, fc2 = matrix(4 * N_EMBD, N_EMBD), matrix(N_EMBD, 4 * N_EMBD)
    block = {
        "attention": {
            "norm": {},
            "qkv": {"weight": np.concatenate([wq, wk, wv]).T},
            "heads": {},
            "proj": {"weight": wo.T},
        },
        "mlp": {"norm": {}, "hidden": {"weight": fc1.T}, "act": {}, "proj": {"weight": fc2.T}},
    }
    return {
        "embedding": {
            "token": {"weight": np.roll(wte, 1, axis=0)},  # the boundary first
            "position": {"weight": wpe},
        },
        "norm": {},
        "blocks": {"0": block},
        "head": {"weight": np.roll(lm_head, 1, axis=0).T},
    }


@jax.jit
def _train(
    params: Tree, x: Int[Array, "S T"], y: Int[Array, "S T"]
) -> tuple[Tree, Float[Array, " S"]]:
    # One step of Adam per word. The rate is not a schedule of optax's, which is in float32.
    model = microgpt(params["head"]["weight"].shape[1])
    adam = optax.scale_by_adam(b1=0.85, b2=0.99, eps=1e-8)
    params = jax.tree.map(jnp.asarray, params)
    rates = LEARNING_RATE * (1 - jnp.arange(len(x)) / len(x))

    def step(
        carry: tuple[Tree, optax.OptState], at: tuple[Array, Array, Array]
    ) -> tuple[tuple[Tree, optax.OptState], Array]:
        params, state = carry
        rate, x, y = at
        loss, grads = loss_and_grad(model, params, x[None], y[None])
        updates, state = adam.update(grads, state)
        params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
        return (params, state), loss

    (params, _), losses = jax.lax.scan(step, (params, adam.init(params)), (rates, x, y))
    return params, losses


def _sample(params: Tree, vocab: Vocabulary, stream: random.Random) -> list[str]:
    model = microgpt(vocab.size)

    @jax.jit
    def step(cache: Tree, token: Int[Array, "1"]) -> tuple[Float[Array, "1 V"], Tree]:
        stats = model.calibrate(params, token[:, None])[1]  # empty: no layer has statistics
        return model.step(params, stats, cache, token)

    names: list[str] = []
    for _ in range(N_SAMPLES):
        cache, ids = model.cache(params, 1), [0]
        while len(ids) <= BLOCK_SIZE:
            logits, cache = step(cache, jnp.array(ids[-1:]))
            scaled = np.roll(np.asarray(logits)[0], -1) / TEMPERATURE  # in microgpt's order of ids
            weights = np.exp(scaled - scaled.max())
            (token,) = stream.choices(range(vocab.size), weights=(weights / weights.sum()).tolist())
            if token == vocab.size - 1:
                break
            ids.append(token + 1)
        names.append(vocab.decode(ids[1:]))
    return names
