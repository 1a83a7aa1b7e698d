"""Normalisation layers."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxmore import rules
from jaxmore.layers.base import Layer, Normal, Tree


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch normalisation of each feature over all leading axes, with the unbiased variance.

    It maps (*B, n_features) to the same shape. ``gain`` and ``bias`` say how the parameters of the
    same names, (n_features,) each, are drawn: by default all 1 and all 0. The layer keeps no
    running averages: ``fwd`` normalises with the statistics of its batch, and ``apply`` with those
    that ``calibrate`` computes from the data it is given (in a run, the training examples). A batch
    of one row has no unbiased variance, so ``fwd`` raises a ValueError.
    :func:`~jaxmore.rules.batch_norm` has the formula, the derivation and the source.
    """

    n_features: int
    gain: Normal = Normal(std=0.0, mean=1.0)
    bias: Normal = Normal(std=0.0)
    eps: float = 1e-5

    def init(self, key: Array) -> Tree:
        gain_key, bias_key = jax.random.split(key)
        shape = (self.n_features,)
        return {"gain": self.gain(gain_key, shape), "bias": self.bias(bias_key, shape)}

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, Any]:
        y, (*res, _) = rules.batch_norm_fwd(x, params["gain"], params["bias"], eps=self.eps)
        return y, tuple(res)  # without the gain: a layer does not save its weights

    def bwd(self, params: Tree, res: Any, dy: Array) -> tuple[Tree, Array]:
        x, mean, var = res
        residuals = rules.BatchNormResiduals(x, mean, var, params["gain"])
        dx, dgain, dbias = rules.batch_norm_bwd(residuals, dy, eps=self.eps)
        return {"gain": dgain, "bias": dbias}, dx

    def apply(self, params: Tree, stats: Tree, x: Array) -> Array:
        gain, bias, mean, var = params["gain"], params["bias"], stats["mean"], stats["var"]
        return rules.batch_norm_inference(x, gain, bias, mean, var, eps=self.eps)

    def calibrate(self, params: Tree, x: Array, counts: Array | None = None) -> tuple[Array, Tree]:
        mean, var = rules.batch_norm_statistics(x, counts)
        stats = {"mean": mean, "var": var}
        return self.apply(params, stats, x), stats


@dataclass(frozen=True)
class RmsNorm(Layer):
    """Division of each row by its root mean square, without a gain: (*B, E) to (*B, E).

    :func:`~jaxmore.rules.rms_norm` has the formula, the derivation and the source.
    """

    eps: float = 1e-5

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, Any]:
        y, (x, mean_square, _) = rules.rms_norm_fwd(x, eps=self.eps)
        return y, (x, mean_square)

    def bwd(self, params: Tree, res: Any, dy: Array) -> tuple[Tree, Array]:
        dx, _ = rules.rms_norm_bwd(rules.RmsNormResiduals(*res, gain=None), dy, eps=self.eps)
        return {}, dx


@dataclass(frozen=True)
class LayerNorm(Layer):
    """Layer normalisation of each row by its own mean and biased variance.

    It maps (*B, n_features) to the same shape. ``gain`` starts at 1 and ``bias`` at 0, both
    (n_features,). :func:`~jaxmore.rules.layer_norm` has the formula, the derivation and the
    source.
    """

    n_features: int
    eps: float = 1e-5
    can_recompute: ClassVar[bool] = True

    def init(self, key: Array) -> Tree:
        return {"gain": jnp.ones(self.n_features), "bias": jnp.zeros(self.n_features)}

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, Any]:
        y, (*res, _) = rules.layer_norm_fwd(x, params["gain"], params["bias"], eps=self.eps)
        return y, tuple(res)

    def bwd(self, params: Tree, res: Any, dy: Array) -> tuple[Tree, Array]:
        residuals = rules.LayerNormResiduals(*res, gain=params["gain"])
        dx, dgain, dbias = rules.layer_norm_bwd(residuals, dy, eps=self.eps)
        return {"gain": dgain, "bias": dbias}, dx

    def recompute(self, params: Tree, res: Any) -> Array:
        residuals = rules.LayerNormResiduals(*res, gain=params["gain"])
        return rules.layer_norm_recompute(residuals, params["bias"])
