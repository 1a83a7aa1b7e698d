"""Sampling: every word at once, one token per step of a jitted scan."""

import reprlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxmore.data import Vocabulary
from jaxmore.errors import InputError
from jaxmore.layers import Layer, Tree
from jaxmore.training.memory import available_memory, size_of


@partial(jax.jit, static_argnames=("model", "n_words", "top_k"))
def sample_ids(
    model: Layer,
    params: Tree,
    stats: Tree,
    key: Array,
    forced: Int[Array, " T"],
    temperature: Float[Array, ""],
    *,
    n_words: int,
    top_k: int | None = None,
) -> Int[Array, "n T"]:
    """Draw ``n_words`` sequences of T ids, each starting from the boundary (id 0).

    Args:
        model: ids to logits, one token at a time by ``model.step``.
        params: its parameters.
        stats: its statistics.
        key: the key of the draws; step t uses ``fold_in(key, t)``.
        forced: (T,) the ids of the prompt, and −1 where an id is to be drawn.
        temperature: a positive scalar that divides the logits.
        n_words: the number of sequences.
        top_k: draw among the k most likely ids only; of equally likely ones the first are taken.

    Returns:
        ids (n_words, T), zero after the end of each word.
    """

    def step(carry: tuple[Array, Array, Any], at: tuple[Array, Array]) -> Any:
        token, done, cache = carry
        t, given = at
        logits, cache = model.step(params, stats, cache, token)
        logits = logits.astype(jnp.float32)
        logits = (logits - logits.max(-1, keepdims=True)) / temperature
        if top_k is not None:
            # By place, not by value: of equal logits top_k takes the first, and only k in all.
            places = jax.lax.top_k(logits, top_k)[1]
            is_kept = (
                jnp.zeros(logits.shape, bool).at[jnp.arange(n_words)[:, None], places].set(True)
            )
            logits = jnp.where(is_kept, logits, jnp.finfo(logits.dtype).min)
        drawn = jax.random.categorical(jax.random.fold_in(key, t), logits)
        token = jnp.where(given >= 0, given, jnp.where(done, 0, drawn)).astype(jnp.int32)
        return (token, done | (token == 0), cache), token

    first = (
        jnp.zeros(n_words, jnp.int32),
        jnp.zeros(n_words, bool),
        model.cache(params, n_words),
    )
    _, ids = jax.lax.scan(step, first, (jnp.arange(len(forced)), forced))
    return ids.T


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
        **how: the other arguments of :func:`sample_words`.

    Raises:
        InputError: a single word does not fit into memory, or see :func:`sample_words`.
    """

    def cache(params: Tree) -> Tree:
        return model.cache(params, 1)

    # A word's ids, cache and logits, and as much again for what the sampler computes.
    logits = jax.ShapeDtypeStruct((vocab.size,), jnp.float32)
    a_word = 4 * max_length + 2 * size_of(jax.eval_shape(cache, params)) + 8 * size_of(logits)
    at_once = min(AT_ONCE, available_memory() // 2 // a_word)
    if not at_once:
        raise InputError(f"one word of {max_length} characters needs more memory than there is")
    at_once = min(at_once, max(n_words, 1))
    for batch, start in enumerate(range(0, n_words, at_once)):
        words = sample_words(
            model,
            params,
            stats,
            vocab,
            n_words=at_once,
            max_length=max_length,
            batch=batch,
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
    seed: int,
    batch: int = 0,
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
        seed: the seed of the draws; equal seeds give equal words.
        batch: the number of this batch, where more words are drawn than fit in one call.
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
    key = jax.random.key(seed)
    ids = sample_ids(
        model,
        params,
        stats,
        key if batch == 0 else jax.random.fold_in(key, 2**32 - batch),  # no step's key
        jnp.array(forced),
        jnp.float32(temperature),
        n_words=n_words,
        top_k=top_k,
    )
    return vocab.decode_words(ids)
