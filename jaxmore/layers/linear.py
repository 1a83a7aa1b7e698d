"""Affine layers."""

from dataclasses import dataclass

import jax
from jaxtyping import Array

from jaxmore import rules
from jaxmore.layers.base import Layer, Normal, Tree, Uniform


@dataclass(frozen=True)
class Linear(Layer):
    """An affine map of the last axis, (*B, n_in) to (*B, n_out); ``bias=None`` omits the bias."""

    n_in: int
    n_out: int
    weight: Normal | Uniform = Normal()
    bias: Normal | Uniform | None = Normal()

    def init(self, key: Array) -> Tree:
        weight_key, bias_key = jax.random.split(key)
        params = {"weight": self.weight(weight_key, (self.n_in, self.n_out))}
        if self.bias is not None:
            params["bias"] = self.bias(bias_key, (self.n_out,))
        return params

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, Array]:
        y, (x, _) = rules.linear_fwd(x, params["weight"], params.get("bias"))
        return y, x  # a layer does not save its weights

    def bwd(self, params: Tree, res: Array, dy: Array) -> tuple[Tree, Array]:
        dx, dweight, dbias = rules.linear_bwd((res, params["weight"]), dy)
        return {"weight": dweight} | ({} if self.bias is None else {"bias": dbias}), dx


def fan_in_linear(n_in: int, n_out: int, *, bias: bool = True) -> Linear:
    """Return a ``Linear`` with PyTorch's initialisation: weight and bias from U(±1/√n_in).

    >>> fan_in_linear(4, 3, bias=False)
    Linear(n_in=4, n_out=3, weight=Uniform(bound=0.5), bias=None)
    """
    start = Uniform(n_in**-0.5)
    return Linear(n_in, n_out, start, start if bias else None)
