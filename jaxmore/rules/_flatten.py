"""Flatten: the embeddings of a context side by side in one row, all of them or n at a time."""

from jaxtyping import Array, Float


def flatten(x: Float[Array, "*B T E"], *, block_size: int) -> Float[Array, "*B TE"]:
    """Concatenate the T rows of each context: y[..., t·E + e] = x[..., t, e].

    Derivation. y holds the very elements of x in the very same (row-major) order: the map is a
    permutation of coordinates, linear, and its own matrix is the identity on the flat arrays.
    So its transpose is the same relabelling read backwards::

        dx[..., t, e] = dy[..., t·E + e]

    There is nothing to save: T is the option, and E follows from dy.

    Args:
        x: (*B, T, E), T equal to ``block_size``.
        block_size: T, the length of the context.

    Returns:
        y (*B, T·E), the dtype of x.

    Raises:
        ValueError: the second last axis of x is not ``block_size`` long.

    Source: Bengio et al. (JMLR 2003): the concatenated word features.
    """
    if x.shape[-2] != block_size:
        raise ValueError(f"flatten expects {block_size} rows (block_size), got x of {x.shape}")
    return x.reshape(*x.shape[:-2], block_size * x.shape[-1])


def flatten_fwd(
    x: Float[Array, "*B T E"], *, block_size: int
) -> tuple[Float[Array, "*B TE"], tuple[()]]:
    """``flatten(x)``, and no residuals."""
    return flatten(x, block_size=block_size), ()


def flatten_bwd(
    res: tuple[()], dy: Float[Array, "*B TE"], *, block_size: int
) -> tuple[Float[Array, "*B T E"]]:
    """dx[..., t, e] = dy[..., t·E + e]."""
    del res
    return (dy.reshape(*dy.shape[:-1], block_size, dy.shape[-1] // block_size),)


def flatten_consecutive(x: Float[Array, "*B T E"], *, n: int) -> Float[Array, "*B S nE"]:
    """Put each n consecutive rows side by side: (…, T, E) to (…, T/n, n·E).

    y[..., s, i·E + e] = x[..., s·n + i, e] for i in [0, n): WaveNet's fusing of neighbours, one
    level. (With n = T it is ``flatten`` but for the axis of length 1 that it leaves.)

    Derivation. As in ``flatten``: row-major order is kept, so the map is the identity on the flat
    arrays and its transpose the same relabelling read backwards::

        dx[..., s·n + i, e] = dy[..., s, i·E + e]

    There is nothing to save: n is the option, the rest follows from dy.

    Args:
        x: (*B, T, E), T a multiple of n.
        n: how many rows make one.

    Returns:
        y (*B, T/n, n·E), the dtype of x.

    Raises:
        ValueError: n is below 1 or does not divide T.

    Source: van den Oord et al., WaveNet (2016), as in zero-to-hero's lecture 6.

    >>> import jax.numpy as jnp
    >>> flatten_consecutive(jnp.array([[1.0], [2.0], [3.0], [4.0]]), n=2).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    *batch, n_rows, n_features = x.shape
    if n < 1 or n_rows % n:
        raise ValueError(f"flatten_consecutive takes a multiple of n={n} rows, got x of {x.shape}")
    return x.reshape(*batch, n_rows // n, n * n_features)


def flatten_consecutive_fwd(
    x: Float[Array, "*B T E"], *, n: int
) -> tuple[Float[Array, "*B S nE"], tuple[()]]:
    """``flatten_consecutive(x)``, and no residuals."""
    return flatten_consecutive(x, n=n), ()


def flatten_consecutive_bwd(
    res: tuple[()], dy: Float[Array, "*B S nE"], *, n: int
) -> tuple[Float[Array, "*B T E"]]:
    """dx[..., s·n + i, e] = dy[..., s, i·E + e]."""
    del res
    *batch, n_groups, width = dy.shape
    return (dy.reshape(*batch, n_groups * n, width // n),)
