"""Dropout."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key


def dropout(
    x: Float[Array, "*shape"], key: Key[Array, ""], *, rate: float
) -> Float[Array, "*shape"]:
    """Zero each element with probability ``rate`` and scale the others by 1/(1 − rate).

    With independent m ~ Bernoulli(1 − rate), y = m · x / (1 − rate). Since E[y] = x, dropout is the
    identity at inference.

    Derivation. For a given key, m is constant and y is linear in x with a diagonal matrix, which is
    its own transpose::

        dx = m · dy / (1 − rate)

    The key has no cotangent. Where an element is dropped, dx is zero for any dy, including NaN.

    Args:
        x: any shape, float64, float32, bfloat16 or float16.
        key: a typed key (``jax.random.key``); the same key gives the same mask.
        rate: the probability of dropping an element, in [0, 1).

    Returns:
        y, with the shape and dtype of x.

    Raises:
        ValueError: if ``rate`` is not in [0, 1).

    Source: Srivastava et al., Dropout (JMLR 2014), in the inverted form.

    >>> import jax, jax.numpy as jnp
    >>> y = dropout(jnp.ones(1000), jax.random.key(0), rate=0.2)
    >>> sorted(set(y.tolist()))
    [0.0, 1.25]
    """
    return dropout_fwd(x, key, rate=rate)[0]


def dropout_fwd(
    x: Float[Array, "*shape"], key: Key[Array, ""], *, rate: float
) -> tuple[Float[Array, "*shape"], Bool[Array, "*shape"]]:
    """Return ``dropout(x, key)`` and its residual: the mask.

    The mask takes one byte per element, a quarter of x in float32. The backward pass could draw it
    again from the key, but on a CPU drawing random bits is nearly the whole cost of dropout: the
    backward pass would take several times as long.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"dropout needs a rate in [0, 1), got {rate}")
    mask = jax.random.bernoulli(key, 1 - rate, x.shape)
    return _keep(x, mask, rate), mask


def dropout_bwd(
    mask: Bool[Array, "*shape"], dy: Float[Array, "*shape"], *, rate: float
) -> tuple[Float[Array, "*shape"], None]:
    """Compute dx = mask · dy / (1 − rate)."""
    return _keep(dy, mask, rate), None


def _keep(
    x: Float[Array, "*shape"], mask: Bool[Array, "*shape"], rate: float
) -> Float[Array, "*shape"]:
    return jnp.where(mask, x * (1 / (1 - rate)), jnp.zeros_like(x))
