"""The mean of several small transformers, trained on the trie of the names, and of n-grams.

**An ensemble.** Each member learns the training names well enough to overfit, and each errs in
other places. −log is convex, so the loss of the mean of their probabilities is at most the mean of
their losses (Jensen): here it is 0.05 less. A member has two fifths of the parameters of
makemore.py's transformer. The members share one compiled program, and each core trains one member
at a time.

**Counts.** An n-gram model with Kneser–Ney smoothing takes a second, reaches a dev loss of 1.999 by
itself, and errs in yet other places. Its probabilities have a fixed share of the mean.

**The trie.** A prefix has one distribution of the next character over all names that begin with
it. That is the target at each place of each name, instead of the name's own next character. The
182,625 places have 50,705 distinct prefixes. As in ``speed_nadam``, the mean of the gradient is the
same, without the noise of drawing a name. With w = Σ_v q_v (1, or 0 behind a name's end) and n the
number of places::

    loss = −1/n Σ_v q_v log p_v        dlogits = (w p − q) / n

**Names take the room that they need.** The longest has 15 characters, but 85% have at most 7. A
batch is 102 names in rows of 8 and 18 in rows of 16, not 120 rows of 16. All layers but attention
and the embedding of positions see a list of tokens; these two see the rows of each bucket, and the
gradients of their parameters add up.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from benchmarks.records.contexts import distinct_contexts
from benchmarks.records.entries.minute_muon import probabilities, with_dropout
from benchmarks.records.kneser_ney import KneserNey
from benchmarks.records.tracks import LogProbs
from jaxmore import models
from jaxmore.data import Vocabulary, sequences
from jaxmore.layers import CausalSelfAttention, Layer, PositionEmbedding, Tree
from jaxmore.rules._reductions import max_keepdims
from jaxmore.runs.machine import n_threads
from jaxmore.training.loop import TrainState
from jaxmore.training.optimizers import make_optimizer

TRACK, BASELINE = "minute", "minute_muon"
SHORT = 8
"""The length of a short name's row: up to 7 characters and the boundary."""
BATCH = 102, 18
"""Short and long names in a batch: 85% of the names are short."""
DECAY, WARMUP = 0.1, 200
LONGEST, SHARE = 5, 0.25
"""The context of the n-grams, and their share of the probabilities."""


class Recipe(NamedTuple):
    """The training run that spends a budget."""

    members: int
    steps: int
    learning_rate: float
    n_layer: int
    n_head: int
    n_embd: int
    dropout: float = 0.0


RECIPE = Recipe(4, 1_100, 1e-2, 3, 3, 48)


@dataclass(frozen=True)
class Bucketed(Layer):
    """Applies a layer to the rows of each bucket of a list of tokens (n, ...)."""

    layer: Layer
    buckets: tuple[tuple[int, int], ...]
    """Rows and tokens in a row."""

    def init(self, key: Array) -> Tree:
        return self.layer.init(key)

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, Any]:
        ys, res = zip(*(self.layer.fwd(params, rows) for rows in self._rows(x)), strict=True)
        return self._tokens(ys), res

    def bwd(self, params: Tree, res: Any, dy: Array) -> tuple[Tree, Array | None]:
        pairs = zip(res, self._rows(dy), strict=True)
        dparams, dxs = zip(*(self.layer.bwd(params, r, rows) for r, rows in pairs), strict=True)
        dx = None if dxs[0] is None else self._tokens(dxs)  # ids have no cotangent
        return jax.tree.map(lambda *parts: sum(parts), *dparams), dx

    def _rows(self, x: Array) -> list[Array]:
        ends = np.cumsum([n * t for n, t in self.buckets])
        parts = jnp.split(x, ends[:-1])
        return [p.reshape(*b, *x.shape[1:]) for p, b in zip(parts, self.buckets, strict=True)]

    def _tokens(self, parts: Sequence[Array]) -> Array:
        return jnp.concatenate([part.reshape(-1, part.shape[-1]) for part in parts])


def bucketed(layer: Layer, buckets: tuple[tuple[int, int], ...]) -> Layer:
    """Make a model of rows a model of buckets, with the same parameters."""
    if isinstance(layer, CausalSelfAttention | PositionEmbedding):
        return Bucketed(layer, buckets)
    return layer.map(partial(bucketed, buckets=buckets))


def loss_and_grad(
    model: Layer, params: Tree, x: Int[Array, " n"], q: Float[Array, "n V"], key: Array
) -> tuple[Float[Array, ""], Tree]:
    """The mean cross-entropy of q and softmax(logits) where q is not zero, and its gradient."""
    logits, res = model.fwd(params, x, key)
    w = q.sum(-1, keepdims=True)
    n = w.sum()
    shifted = logits - max_keepdims(logits)
    exponentials = jnp.exp(shifted)
    total = exponentials.sum(-1, keepdims=True)
    dparams, _ = model.bwd(params, res, (w * exponentials / total - q) / n)
    return -(q * (shifted - jnp.log(total))).sum() / n, dparams


@partial(
    jax.jit,
    static_argnames=("model", "optimizer"),
    # Level 3 compiles longer and runs no faster. Each member has a core, not each product two.
    compiler_options={"xla_backend_optimization_level": 1, "xla_cpu_multi_thread_eigen": False},
)
def run_steps(
    model: Layer,
    optimizer: optax.GradientTransformation,
    last: Int[Array, " D"],
    following: Float[Array, "D V"],
    batches: Int[Array, "S n"],
    key: Array,
) -> Tree:
    """Draw parameters and run all steps in one scan over batches of prefixes."""
    init_key, dropout_key = jax.random.split(key)
    params = model.init(init_key)

    def step(state: TrainState, batch: tuple[Array, Array]) -> tuple[TrainState, None]:
        i, nodes = batch
        step_key = jax.random.fold_in(dropout_key, i)
        _, grads = loss_and_grad(model, state.params, last[nodes], following[nodes], step_key)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        return TrainState(optax.apply_updates(state.params, updates), opt_state), None

    first = TrainState(params, optimizer.init(params))
    return jax.lax.scan(step, first, (jnp.arange(len(batches)), batches))[0].params


def draw(
    nodes: Int[np.ndarray, "n T"], size: int, steps: int, rng: np.random.Generator
) -> Int[np.ndarray, "S nT"]:
    """Draw batches of names: all of them, in a new order, before any comes again."""
    n_epochs = -(-size * steps // len(nodes))
    order = np.concatenate([rng.permutation(len(nodes)) for _ in range(n_epochs)])
    return nodes[order[: size * steps]].reshape(steps, -1)


def train(words: Sequence[str], vocab: Vocabulary, seed: int, recipe: Recipe = RECIPE) -> LogProbs:
    """Train the members, one on each core at a time."""
    _, Y = sequences(words, vocab)
    block_size = Y.shape[1]
    prefixes = distinct_contexts(words, vocab, block_size)  # a context as long as the longest name
    # Behind the end of a name stands a prefix that nothing follows.
    nodes = np.full(Y.shape, len(prefixes.ids), np.int32)
    nodes[Y != -1] = prefixes.which
    last = jnp.array(np.append(prefixes.ids[:, -1], 0))
    following = jnp.array(np.pad(prefixes.next, ((0, 1), (0, 0))))
    is_short = Y[:, SHORT - 1 :].max(1, initial=-1) <= 0
    pools = nodes[is_short, :SHORT], nodes[~is_short]

    plain = models.transformer(
        vocab.size,
        block_size=block_size,
        n_layer=recipe.n_layer,
        n_head=recipe.n_head,
        n_embd=recipe.n_embd,
    )
    buckets = tuple((n, pool.shape[1]) for n, pool in zip(BATCH, pools, strict=True))
    model = bucketed(with_dropout(plain, recipe.dropout), buckets)
    optimizer = make_optimizer(
        "muon", recipe.learning_rate, DECAY, "cosine", recipe.steps, warmup_steps=WARMUP
    )
    rngs = np.random.default_rng(seed).spawn(recipe.members)
    batches = [
        np.concatenate(
            [draw(pool, n, recipe.steps, rng) for pool, n in zip(pools, BATCH, strict=True)], axis=1
        )
        for rng in rngs
    ]
    keys = jax.random.split(jax.random.key(seed), recipe.members)
    with ThreadPoolExecutor(n_threads()) as threads:
        counting = threads.submit(KneserNey, words, vocab, LONGEST)  # beside the compilation
        compiled = run_steps.lower(model, optimizer, last, following, batches[0], keys[0]).compile()

        def train_member(b: Int[np.ndarray, "S n"], key: Array) -> Tree:
            return jax.block_until_ready(compiled(last, following, jnp.array(b), key))

        members = list(threads.map(train_member, batches, keys))
    ngrams = counting.result()

    def log_probs(words: Sequence[str]) -> Float[np.ndarray, "n V"]:
        ps = [probabilities(plain, params, vocab, words) for params in members]
        return np.log((1 - SHARE) * np.mean(ps, axis=0) + SHARE * ngrams(words))

    return log_probs
