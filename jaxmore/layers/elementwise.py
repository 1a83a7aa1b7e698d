"""Elementwise layers, which have no parameters."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Array

from jaxmore import rules
from jaxmore.layers.base import Layer, Tree


@dataclass(frozen=True)
class Tanh(Layer):
    """The hyperbolic tangent, elementwise."""

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, Array]:
        return rules.tanh_fwd(x)

    def bwd(self, params: Tree, res: Array, dy: Array) -> tuple[Tree, Array]:
        (dx,) = rules.tanh_bwd(res, dy)
        return {}, dx


@dataclass(frozen=True)
class Relu(Layer):
    """The rectified linear unit, elementwise."""

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, Array]:
        return rules.relu_fwd(x)

    def bwd(self, params: Tree, res: Array, dy: Array) -> tuple[Tree, Array]:
        (dx,) = rules.relu_bwd(res, dy)
        return {}, dx


@dataclass(frozen=True)
class Gelu(Layer):
    """The Gaussian error linear unit, elementwise; ``approximate`` selects the tanh form."""

    approximate: bool
    can_recompute: ClassVar[bool] = True

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, Array]:
        return rules.gelu_fwd(x, approximate=self.approximate)

    def bwd(self, params: Tree, res: Array, dy: Array) -> tuple[Tree, Array]:
        (dx,) = rules.gelu_bwd(res, dy, approximate=self.approximate)
        return {}, dx

    def recompute(self, params: Tree, res: Array) -> Array:
        return rules.gelu(res, approximate=self.approximate)


@dataclass(frozen=True)
class Dropout(Layer):
    """Dropout if ``fwd`` receives a key (in training), else the identity."""

    rate: float

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, Array | None]:
        return (x, None) if key is None else rules.dropout_fwd(x, key, rate=self.rate)

    def bwd(self, params: Tree, res: Array | None, dy: Array) -> tuple[Tree, Array]:
        return {}, dy if res is None else rules.dropout_bwd(res, dy, rate=self.rate)[0]
