"""The task of the contestants: a model, its first parameters, the data and the batches."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int


@dataclass(frozen=True)
class Task:
    """A chunk of training, in NumPy only, so that a worker that needs no JAX never imports it.

    The batches are those that jaxmore draws on the device from (seed, step). The peers are given
    them, so drawing costs them nothing; gathering the examples is work for everyone.
    """

    type: str
    """One of ``jaxmore.models.MODELS``."""
    options: dict[str, Any]
    """Of the model."""
    vocab_size: int
    optimizer: str
    """``sgd``, ``adam`` or ``adamw``, as ``jaxmore.training.optimizers`` makes them."""
    learning_rate: float
    X: Int[np.ndarray, "n T"]
    Y: Int[np.ndarray, "n ..."]
    params: dict[str, Any]
    """The first parameters, the same for everyone."""
    seed: int
    """Of the batches."""
    indices: Int[np.ndarray, "S B"]
    """The examples of each of the chunk's steps."""
    dtype: str = "float32"
    """Of the gradient: ``bfloat16`` rounds the parameters, which stay in float32."""

    @property
    def n_steps(self) -> int:
        return self.indices.shape[0]

    @property
    def batch_size(self) -> int:
        return self.indices.shape[1]


def make_task(
    type: str,
    options: dict[str, Any],
    vocab_size: int,
    X: Int[np.ndarray, "n T"],
    Y: Int[np.ndarray, "n ..."],
    *,
    batch_size: int,
    n_steps: int,
    optimizer: str = "sgd",
    learning_rate: float = 0.1,
    seed: int = 2147483647,
) -> Task:
    """Draw the first parameters and the batches, as ``jaxmore train`` draws them."""
    import jax
    import jax.numpy as jnp

    from jaxmore.models import MODELS
    from jaxmore.training.loop import batch_indices

    init_key, _ = jax.random.split(jax.random.key(seed))
    params = MODELS[type].make(vocab_size, **options).init(init_key)
    indices = batch_indices(jax.random.key(seed), jnp.arange(n_steps), batch_size, len(X))
    return Task(
        type=type,
        options=options,
        vocab_size=vocab_size,
        optimizer=optimizer,
        learning_rate=learning_rate,
        X=X,
        Y=Y,
        params=jax.tree.map(np.asarray, params),
        seed=seed,
        indices=np.asarray(indices),
    )
