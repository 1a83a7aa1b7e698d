"""Sampling: all words at once, token by token, in one jitted scan."""

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
    """Draw ``n_words`` sequences of T ids, every one from the boundary (id 0) on.

    Args:
        model: ids to logits by ``model.step``, one token at a time.
        params: its parameters.
        stats: its statistics.
        key: of the draws; step t uses ``fold_in(key, t)``.
        forced: T entries: an id that is given (the prompt), or −1 for one to draw.
        temperature: the logits are divided by it; 1 samples the model as it is.
        n_words: how many.
        top_k: draw among the k likeliest ids only.

    Returns:
        ids (n_words, T), zero from the end of each word on.
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
    temperature: float = 1.0,
    top_k: int | None = None,
    prompt: str = "",
) -> list[str]:
    """Make more words.

    Args:
        model: ids to logits by ``model.step``.
        params: its parameters.
        stats: its statistics.
        vocab: of the model.
        n_words: how many words.
        max_length: where a word that does not end is cut, the prompt included.
        seed: the same seed, the same words.
        temperature: below 1 more likely words, above 1 more surprising ones.
        top_k: draw among the k likeliest characters only.
        prompt: what every word begins with.

    Returns:
        The words.

    Raises:
        InputError: a character of the prompt that the model does not know, a prompt of
            ``max_length`` characters or more, a temperature that is not positive, or a ``top_k``
            outside 1..V.
    """
    if not np.finfo(np.float32).tiny <= temperature < float("inf"):
        raise InputError(f"--temperature must be positive, got {temperature}")
    if top_k is not None and not 1 <= top_k <= vocab.size:
        raise InputError(f"--top-k must lie in 1..{vocab.size}, got {top_k}")
    if len(prompt) >= max_length:
        raise InputError(f"the prompt {prompt!r} leaves no room: words end at {max_length}")
    forced = np.full(max_length, -1, np.int32)
    forced[: len(prompt)] = vocab.encode(prompt)
    ids = sample_ids(
        model,
        params,
        stats,
        jax.random.key(seed),
        jnp.array(forced),
        jnp.float32(temperature),
        n_words=n_words,
        top_k=top_k,
    )
    return vocab.decode_words(ids)
