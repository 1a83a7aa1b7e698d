"""What a layer is, and what its parameters are drawn from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
from jaxtyping import Array, Float

Tree = dict[str, Any]
"""Parameters, their cotangents or statistics: a dict of arrays, or of such dicts."""


@dataclass(frozen=True)
class Normal:
    """Draws of a normal distribution: mean + std · N(0, 1)."""

    std: float = 1.0
    mean: float = 0.0

    def __call__(self, key: Array, shape: tuple[int, ...]) -> Float[Array, "*shape"]:
        return self.mean + self.std * jax.random.normal(key, shape)


@dataclass(frozen=True)
class Uniform:
    """Draws of a uniform distribution: U(−bound, bound)."""

    bound: float

    def __call__(self, key: Array, shape: tuple[int, ...]) -> Float[Array, "*shape"]:
        return jax.random.uniform(key, shape, minval=-self.bound, maxval=self.bound)


class Recalled(NamedTuple):
    """In the place of residuals that are the layer's input: the layer before recalls its output."""


@dataclass(frozen=True)
class Layer:
    """What every layer offers. The defaults are those of a layer with nothing to remember."""

    recalls: ClassVar[bool] = False
    """Whether ``recall`` is defined: cheap beside the memory that the output would take."""

    def init(self, key: Array) -> Tree:
        """Fresh parameters."""
        del key
        return {}

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, Any]:
        """The forward pass in training: (y, residuals). ``key`` feeds what is random."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def bwd(self, params: Tree, res: Any, dy: Array) -> tuple[Tree, Array | None]:
        """The backward pass: (dparams in the tree of params, dx or None for integer inputs)."""
        raise NotImplementedError(f"{type(self).__name__} defines no backward")

    def recall(self, params: Tree, res: Any) -> Array:
        """The output of ``fwd`` again, out of its residuals."""
        raise NotImplementedError(f"{type(self).__name__} recalls nothing")

    def apply(self, params: Tree, stats: Tree, x: Array) -> Array:
        """The forward pass in inference."""
        del stats
        return self.fwd(params, x)[0]

    def calibrate(self, params: Tree, x: Array, counts: Array | None = None) -> tuple[Array, Tree]:
        """:meth:`apply` with statistics that are taken of x itself: (y, stats).

        ``counts`` says how many equal examples each x[i] stands for; None: one.
        """
        del counts
        return self.apply(params, {}, x), {}

    def cache(self, params: Tree, batch_size: int) -> Any:
        """What ``step`` carries from token to token, before the first token."""
        del params, batch_size
        return ()

    def step(self, params: Tree, stats: Tree, cache: Any, x_t: Array) -> tuple[Array, Any]:
        """Inference for one token of each of B sequences: (y_t, cache)."""
        return self.apply(params, stats, x_t), cache

    def map(self, function: Callable[["Layer"], "Layer"]) -> "Layer":
        """The same layer with ``function`` applied to its sub-layers; a leaf has none."""
        del function
        return self
