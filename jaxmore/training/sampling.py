"""Sampling: every word at once, one token per step of a jitted loop."""

import reprlib
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxmore.data import Vocabulary
from jaxmore.errors import InputError
from jaxmore.layers import Layer, Tree
from jaxmore.training.memory import available_memory, size_of


class _Words(NamedTuple):
    """The rows that the loop still computes."""

    places: Int[Array, " rows"]
    """The row of the result that each word fills."""
    token: Int[Array, " rows"]
    done: Bool[Array, " rows"]
    cache: Any

    def take(self, rows: Int[Array, " fewer"]) -> "_Words":
        return jax.tree.map(lambda leaf: leaf[rows] if leaf.ndim else leaf, self)


@partial(jax.jit, static_argnames=("model", "top_k"))
def sample_ids(
    model: Layer,
    params: Tree,
    stats: Tree,
    u: Float[Array, "n T"],
    forced: Int[Array, " T"],
    temperature: Float[Array, ""],
    *,
    top_k: int | None = None,
) -> Int[Array, "n T"]:
    """Draw n sequences of T ids, each starting from the boundary (id 0).

    Args:
        model: ids to logits, one token at a time by ``model.step``.
        params: its parameters.
        stats: its statistics.
        u: (n, T) random numbers, uniform in [0, 1), one for each id, as
            ``numpy.random.default_rng(seed).random((n, T), "float32")`` draws them.
        forced: (T,) the ids of the prompt, and −1 where an id is to be drawn.
        temperature: a positive scalar that divides the logits.
        top_k: draw among the k most likely ids only; of equally likely ones the first are taken.

    Returns:
        ids (n, T), zero after the end of each word.
    """
    n_words, n_steps = u.shape

    def step(state: tuple[Array, Array, _Words]) -> tuple[Array, Array, _Words]:
        t, ids, words = state
        logits, cache = model.step(params, stats, words.cache, words.token)
        logits = logits.astype(jnp.float32)
        weights = jnp.exp((logits - logits.max(-1, keepdims=True)) / temperature)
        if top_k is not None:
            # By place, not by value: of equal logits top_k takes the first, and only k in all.
            rows, kept = jnp.arange(len(logits))[:, None], jax.lax.top_k(logits, top_k)[1]
            is_kept = jnp.zeros(logits.shape, bool).at[rows, kept].set(True)
            weights = jnp.where(is_kept, weights, 0)
        drawn = draw(weights, u[words.places, t])
        token = jnp.where(forced[t] >= 0, forced[t], jnp.where(words.done, 0, drawn))
        token = token.astype(jnp.int32)
        words = _Words(words.places, token, words.done | (token == 0), cache)
        return t + 1, ids.at[words.places, t].set(token), words

    token, done = jnp.zeros(n_words, jnp.int32), jnp.zeros(n_words, bool)
    words = _Words(jnp.arange(n_words), token, done, model.cache(params, n_words))
    state = jnp.int32(0), jnp.zeros(u.shape, jnp.int32), words
    # Most words end long before the longest: each time three quarters of the rows have ended, the
    # loop goes on with the others. Each loop is compiled, which pays for many words only.
    n_rows = n_words
    while n_rows:
        n_left = n_rows // 4 if n_rows >= 4 * FEWEST else 0

        def go_on(state: tuple[Array, Array, _Words], n_left: int = n_left) -> Array:
            t, _, words = state
            return (t < n_steps) & ((~words.done).sum() > n_left)

        t, ids, words = jax.lax.while_loop(go_on, step, state)
        # Words that go on come first. Rows in excess are words that have ended, and stay so.
        state = t, ids, words.take(jnp.argsort(words.done)[:n_left])
        n_rows = n_left
    return state[1]


def draw(weights: Float[Array, "n V"], u: Float[Array, " n"]) -> Int[Array, " n"]:
    """Draw an id from each row with probability wᵢ / Σⱼ wⱼ: the first i with w₀ + … + wᵢ > u Σⱼ wⱼ.

    An id of weight 0 is never drawn. The sums and u are rounded, so each probability is off by at
    most about V · 2⁻²⁴.

    Args:
        weights: (n, V), finite and not negative, with at least one normal number in each row.
        u: (n,) uniform in [0, 1).

    Returns:
        ids (n,) in 0..V−1.
    """

    def add(total: Array, weight: Array) -> tuple[Array, Array]:
        return total + weight, total + weight

    # The sums are added one by one, so they never fall, and are equal where a weight is 0.
    # `jnp.cumsum` adds in another order, whose rounding breaks both, and takes longer on a CPU.
    total, sums = jax.lax.scan(add, jnp.zeros_like(weights[:, 0]), weights.T)
    # The product then rounds to less than the total. (A float64 number may have been rounded to 1.)
    u = jnp.minimum(u, 1 - 2**-24).astype(weights.dtype)
    return (sums <= u * total).sum(0, dtype=jnp.int32)


FEWEST = 500
"""The least number of rows for which the sampler has a loop of their own, if there were more."""

AT_ONCE = 100_000
"""The number of words that are sampled in one call of the compiled sampler."""


def sample_in_batches(
    model: Layer,
    params: Tree,
    stats: Tree,
    vocab: Vocabulary,
    *,
    n_words: int,
    max_length: int,
    seed: int,
    **how: Any,
) -> Iterator[list[str]]:
    """Sample any number of words in batches that fit into memory, and yield each as it comes.

    Args:
        model: ids to logits, one token at a time by ``model.step``.
        params: its parameters.
        stats: its statistics.
        vocab: its vocabulary.
        n_words: the number of words in all.
        max_length: the length at which a word is cut.
        seed: the seed of the draws; equal seeds give equal words.
        **how: the other arguments of :func:`sample_words`.

    Raises:
        InputError: a single word does not fit into memory, or see :func:`sample_words`.
    """

    def cache(params: Tree) -> Tree:
        return model.cache(params, 1)

    # A word's ids, random numbers, cache and logits, and as much again for what is computed.
    logits = jax.ShapeDtypeStruct((vocab.size,), jnp.float32)
    a_word = 16 * max_length + 2 * size_of(jax.eval_shape(cache, params)) + 8 * size_of(logits)
    at_once = min(AT_ONCE, available_memory() // 2 // a_word)
    if not at_once:
        raise InputError(f"one word of {max_length} characters needs more memory than there is")
    at_once = min(at_once, max(n_words, 1))
    rng = np.random.default_rng(seed)
    for start in range(0, n_words, at_once):
        words = sample_words(
            model,
            params,
            stats,
            vocab,
            n_words=at_once,
            max_length=max_length,
            seed=rng,
            **how,
        )
        yield words[: n_words - start]


def sample_words(
    model: Layer,
    params: Tree,
    stats: Tree,
    vocab: Vocabulary,
    *,
    n_words: int,
    max_length: int,
    seed: int | np.random.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    prompt: str = "",
) -> list[str]:
    """Sample words from a model.

    Args:
        model: ids to logits, one token at a time by ``model.step``.
        params: its parameters.
        stats: its statistics.
        vocab: its vocabulary.
        n_words: the number of words.
        max_length: the length at which a word is cut, the prompt included.
        seed: the seed of the draws, or the generator that goes on from the words before; equal
            seeds give equal words. More words begin with the same ones, unless the rounding of
            another batch size decides a draw.
        temperature: below 1 likelier words, above 1 more surprising ones.
        top_k: draw among the k most likely characters only.
        prompt: the beginning of every word.

    Returns:
        The words.

    Raises:
        InputError: the prompt holds an unknown character or has ``max_length`` characters or more,
            the temperature is not positive, or ``top_k`` lies outside 1..V.
    """
    if not np.finfo(np.float32).tiny <= temperature < float("inf"):
        raise InputError(f"--temperature must be positive, got {temperature}")
    if top_k is not None and not 1 <= top_k <= vocab.size:
        raise InputError(
            f"--top-k must lie in 1..{vocab.size}, got {top_k}: leave it out to draw among all"
        )
    if len(prompt) >= max_length:
        raise InputError(
            f"the prompt {reprlib.repr(prompt)} leaves no room: words end at {max_length}"
        )
    forced = np.full(max_length, -1, np.int32)
    forced[: len(prompt)] = vocab.encode(prompt)
    u = np.random.default_rng(seed).random((n_words, max_length), np.float32)
    ids = sample_ids(
        model,
        params,
        stats,
        jnp.array(u),
        jnp.array(forced),
        jnp.float32(temperature),
        top_k=top_k,
    )
    return vocab.decode_words(ids)
