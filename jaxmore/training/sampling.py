"""Sampling: every word at once, one token per step of a jitted scan."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxmore.data import Vocabulary
from jaxmore.errors import InputError
from jaxmore.layers import Layer, Tree


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
        top_k: draw among the k most likely ids only.

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
            least = jax.lax.top_k(logits, top_k)[0][:, -1:]
            logits = jnp.where(logits < least, jnp.finfo(logits.dtype).min, logits)
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
        raise InputError(f"--top-k must lie in 1..{vocab.size}, got {top_k}")
    if len(prompt) >= max_length:
        raise InputError(f"the prompt {prompt!r} leaves no room: words end at {max_length}")
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
