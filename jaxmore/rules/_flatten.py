"""Flatten: concatenate the rows of a context, all of them or n at a time."""

from jaxtyping import Array, Float


def flatten(x: Float[Array, "*B T E"], *, block_size: int) -> Float[Array, "*B TE"]:
    """Concatenate the T rows of each context: y[..., t·E + e] = x[..., t, e].

    Derivation. y holds the elements of x in the same (row-major) order. The map is linear, and on
    the flat arrays its matrix is the identity, so its transpose is the inverse reshape::

        dx[..., t, e] = dy[..., t·E + e]

    There is nothing to save: T is an option, and E follows from the shape of dy.

    Args:
        x: (*B, T, E), with T equal to ``block_size``.
        block_size: T, the length of the context.

    Returns:
        y (*B, T·E), with the dtype of x.

    Raises:
        ValueError: if the second last axis of x does not have length ``block_size``.

    Source: Bengio et al. (JMLR 2003): the concatenated word features.
    """
    if x.shape[-2] != block_size:
        raise ValueError(f"flatten expects {block_size} rows (block_size), got x of {x.shape}")
    return x.reshape(*x.shape[:-2], block_size * x.shape[-1])


def flatten_fwd(
    x: Float[Array, "*B T E"], *, block_size: int
) -> tuple[Float[Array, "*B TE"], tuple[()]]:
    """Return ``flatten(x)`` and empty residuals."""
    return flatten(x, block_size=block_size), ()


def flatten_bwd(
    res: tuple[()], dy: Float[Array, "*B TE"], *, block_size: int
) -> tuple[Float[Array, "*B T E"]]:
    """Compute dx[..., t, e] = dy[..., t·E + e]."""
    del res
    return (dy.reshape(*dy.shape[:-1], block_size, dy.shape[-1] // block_size),)


def flatten_consecutive(x: Float[Array, "*B T E"], *, n: int) -> Float[Array, "*B S nE"]:
    """Concatenate each n consecutive rows: (…, T, E) to (…, T/n, n·E).

    y[..., s, i·E + e] = x[..., s·n + i, e] for i in [0, n). This is one level of WaveNet, which
    fuses neighbours. (With n = T it is ``flatten``, except that an axis of length 1 remains.)

    Derivation. As in ``flatten``, the row-major order is kept, so the map is the identity on the
    flat arrays and its transpose is the inverse reshape::

        dx[..., s·n + i, e] = dy[..., s, i·E + e]

    There is nothing to save: n is an option, and the rest follows from the shape of dy.

    Args:
        x: (*B, T, E), with T a multiple of n.
        n: the number of rows to concatenate.

    Returns:
        y (*B, T/n, n·E), with the dtype of x.

    Raises:
        ValueError: if n is below 1 or does not divide T.

    Source: van den Oord et al., WaveNet (2016), as in lecture 6 of zero-to-hero.

    >>> import jax.numpy as jnp
    >>> flatten_consecutive(jnp.array([[1.0], [2.0], [3.0], [4.0]]), n=2).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    *batch, n_rows, n_features = x.shape
    if n < 1 or n_rows % n:
        raise ValueError(f"flatten_consecutive needs a multiple of n={n} rows, got x of {x.shape}")
    return x.reshape(*batch, n_rows // n, n * n_features)


def flatten_consecutive_fwd(
    x: Float[Array, "*B T E"], *, n: int
) -> tuple[Float[Array, "*B S nE"], tuple[()]]:
    """Return ``flatten_consecutive(x)`` and empty residuals."""
    return flatten_consecutive(x, n=n), ()


def flatten_consecutive_bwd(
    res: tuple[()], dy: Float[Array, "*B S nE"], *, n: int
) -> tuple[Float[Array, "*B T E"]]:
    """Compute dx[..., s·n + i, e] = dy[..., s, i·E + e]."""
    del res
    *batch, n_groups, width = dy.shape
    return (dy.reshape(*batch, n_groups * n, width // n),)
