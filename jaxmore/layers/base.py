"""The layer interface, and the distributions that parameters are drawn from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
from jaxtyping import Array, Float

Tree = dict[str, Any]
"""Parameters, their cotangents or statistics: a nested dict of arrays."""


@dataclass(frozen=True)
class Normal:
    """Initialise from a normal distribution, mean + std · N(0, 1)."""

    std: float = 1.0
    mean: float = 0.0

    def __call__(self, key: Array, shape: tuple[int, ...]) -> Float[Array, "*shape"]:
        return self.mean + self.std * jax.random.normal(key, shape)


@dataclass(frozen=True)
class Uniform:
    """Initialise from a uniform distribution, U(−bound, bound)."""

    bound: float

    def __call__(self, key: Array, shape: tuple[int, ...]) -> Float[Array, "*shape"]:
        return jax.random.uniform(key, shape, minval=-self.bound, maxval=self.bound)


class Recomputed(NamedTuple):
    """Marks residuals that are not stored: the backward recomputes them (rematerialisation)."""


@dataclass(frozen=True)
class Layer:
    """The interface of every layer. The defaults suit a layer without parameters or state."""

    can_recompute: ClassVar[bool] = False
    """Whether ``recompute`` is defined, and cheap compared with storing the output."""

    def init(self, key: Array) -> Tree:
        """Draw new parameters."""
        del key
        return {}

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, Any]:
        """Run the forward pass in training: (y, residuals). ``key`` drives dropout."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def bwd(self, params: Tree, res: Any, dy: Array) -> tuple[Tree, Array | None]:
        """Run the backward pass: (dparams in the tree of params, dx or None for integer inputs)."""
        raise NotImplementedError(f"{type(self).__name__} defines no backward")

    def recompute(self, params: Tree, res: Any) -> Array:
        """Recompute the output of ``fwd`` from its residuals."""
        raise NotImplementedError(f"{type(self).__name__} cannot recompute its output")

    def apply(self, params: Tree, stats: Tree, x: Array) -> Array:
        """Run the forward pass in inference."""
        del stats
        return self.fwd(params, x)[0]

    def calibrate(self, params: Tree, x: Array, counts: Array | None = None) -> tuple[Array, Tree]:
        """Compute the inference statistics from x and :meth:`apply` with them: (y, stats).

        ``counts`` weights each x[i] by how often it occurs; None means once.
        """
        del counts
        return self.apply(params, {}, x), {}

    def cache(self, params: Tree, batch_size: int) -> Any:
        """Return the initial cache that ``step`` carries from token to token.

        Its leaves are arrays whose first axis is the batch, and scalars that all rows share.
        """
        del params, batch_size
        return ()

    def step(self, params: Tree, stats: Tree, cache: Any, x_t: Array) -> tuple[Array, Any]:
        """Run inference on one token of each of B sequences: (y_t, cache)."""
        return self.apply(params, stats, x_t), cache

    def map(self, function: Callable[["Layer"], "Layer"]) -> "Layer":
        """Return this layer with ``function`` applied to its sublayers; a leaf has none."""
        del function
        return self
