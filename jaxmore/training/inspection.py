"""What a batch does in a model: activations, cotangents, dead units, attention, the first loss."""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxmore import rules
from jaxmore.backprop import trace
from jaxmore.compiler import UNOPTIMIZED, CpuJit
from jaxmore.layers import (
    CausalSelfAttention,
    Chain,
    Combinator,
    Embedding,
    Flatten,
    FlattenConsecutive,
    Layer,
    Relu,
    ScanTime,
    Tanh,
    Tree,
    by_path,
)
from jaxmore.rules._attention import MASK_VALUE

SATURATED = 0.97
"""A tanh beyond it is saturated (zero-to-hero, lecture 4): its slope is below 0.06."""


class LayerFigures(NamedTuple):
    """The output of a layer for a batch, and its cotangent."""

    activations: Float[np.ndarray, "R ..."]
    """The rows that belong to a target: places after the end of a word are left out."""
    cotangents: Float[np.ndarray, "R ..."]
    """Likewise."""
    saturated: float | None
    """The share of outputs beyond ±0.97, where tanh or a recurrent state bounds them to ±1."""
    dead: float | None
    """The share of units that are saturated, or zero after a ReLU, on every row of the batch."""


class Inspection(NamedTuple):
    """What :func:`inspect` finds."""

    loss: float
    """The loss of the batch."""
    first_loss: float
    """Its loss with the initial parameters."""
    layers: dict[str, LayerFigures]
    """By path, in the order of computation; layers that only rearrange numbers are left out."""
    params: dict[str, Float[np.ndarray, "..."]]
    """The parameters by path."""
    gradients: dict[str, Float[np.ndarray, "..."]]
    """Their cotangents."""
    attention: dict[str, Float[np.ndarray, "B N T T"]]
    """How much each query attends to each key, by the path of the layer."""
    embeddings: dict[str, Float[np.ndarray, "V E"]]
    """The table of each embedding of ids, by the path of the layer."""
    dlogits: Float[np.ndarray, "*C V"]
    """The cotangent of the logits."""

    @property
    def gradient_to_data(self) -> dict[str, float]:
        """log10 of std(gradient) / std(parameter) by path; NaN or infinite where a std is zero."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                path: float(np.log10(self.gradients[path].std() / param.std()))
                for path, param in self.params.items()
            }

    @property
    def largest_row_sum(self) -> float:
        """The largest absolute sum of a row of ``dlogits``: zero but for rounding."""
        return float(np.abs(self.dlogits.sum(-1)).max())


def inspect(
    model: Combinator,
    params: Tree,
    first_params: Tree,
    x: Int[Array, "B T"],
    y: Int[Array, "B ..."],
) -> Inspection:
    """Run a batch forwards and backwards in one jitted call, and sort what it gives.

    Args:
        model: ids to logits.
        params: its trained parameters.
        first_params: its initial parameters.
        x: ids (B, T).
        y: targets (B,) or (B, T); −1 for none.
    """
    measured = jax.tree.map(
        lambda array: np.asarray(array, np.float64), _measure(model, params, first_params, x, y)
    )
    places: dict[str, Any] = measured["places"]
    paths = list(by_path(params))
    has_target = np.asarray(y) != -1
    return Inspection(
        loss=float(places["loss"][0]),
        first_loss=float(measured["first_loss"]),
        layers={
            path: _layer_figures(layer, *(_rows(array, has_target) for array in places[path]))
            for path, layer in _shown_layers(model)
            if path in places  # not those that return ids
        },
        params={path: places[path][0] for path in paths},
        gradients={path: places[path][1] for path in paths},
        attention=measured["attention"],
        embeddings={
            path: places[f"{path}.weight"][0]
            for path, layer in _shown_layers(model)
            if isinstance(layer, Embedding)
        },
        dlogits=places[model.layers[-1][0]][1],
    )


@partial(CpuJit, cpu_options=UNOPTIMIZED, static_argnums=0)
def _measure(
    model: Combinator,
    params: Tree,
    first_params: Tree,
    x: Int[Array, "B T"],
    y: Int[Array, "B ..."],
) -> dict[str, Any]:
    places = trace(model, params, x, y)
    first_logits, _ = model.fwd(first_params, x)
    return {
        "places": places,
        "first_loss": rules.softmax_cross_entropy(first_logits, y),
        "attention": {
            path: _attention_weights(layer, places[before][0])
            for path, layer, before in _attentions(model)
        },
    }


def _shown_layers(model: Combinator, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """Yield the layers that compute; a sum or a skip connection after the layers inside it."""
    for name, layer in model.layers:
        if isinstance(layer, Combinator):
            yield from _shown_layers(layer, f"{prefix}{name}.")
        if type(layer) not in (Chain, Flatten, FlattenConsecutive):
            yield prefix + name, layer


def _attentions(
    model: Combinator, prefix: str = ""
) -> Iterator[tuple[str, CausalSelfAttention, str]]:
    """Yield each attention layer, its path, and the path of the layer that it reads."""
    before = None
    for name, layer in model.layers:
        if isinstance(layer, Combinator):
            yield from _attentions(layer, f"{prefix}{name}.")
        if isinstance(layer, CausalSelfAttention) and before is not None:
            yield prefix + name, layer, prefix + before
        before = name


def _attention_weights(
    layer: CausalSelfAttention, qkv: Float[Array, "B T E3"]
) -> Float[Array, "B N T T"]:
    """Compute the rows of softmax that the layer's own passes do not keep."""
    heads = qkv.reshape(*qkv.shape[:-1], 3, layer.n_head, -1)
    q, k = (heads[..., i, :, :].swapaxes(-2, -3) for i in range(2))
    scores: Array = (q @ k.mT) * q.shape[-1] ** -0.5
    is_past = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    return rules.softmax(jnp.where(is_past, scores, MASK_VALUE))


def _rows(array: Float[np.ndarray, "..."], has_target: Any) -> Float[np.ndarray, "R ..."]:
    return array[has_target] if array.shape[: has_target.ndim] == has_target.shape else array


def _layer_figures(
    layer: Layer, activations: Float[np.ndarray, "R ..."], cotangents: Float[np.ndarray, "R ..."]
) -> LayerFigures:
    is_bounded = isinstance(layer, Tanh | ScanTime)
    flat = np.abs(activations) > SATURATED if is_bounded else activations == 0
    units = flat.reshape(-1, flat.shape[-1]).all(0)
    return LayerFigures(
        activations,
        cotangents,
        saturated=float(flat.mean()) if is_bounded else None,
        dead=float(units.mean()) if is_bounded or isinstance(layer, Relu) else None,
    )


def in_the_plane(
    table: Float[np.ndarray, "n E"],
) -> tuple[Float[np.ndarray, "n 2"], tuple[float, float] | None]:
    """Project the rows of a table on their first two principal components.

    Returns:
        A point for each row, and the share of the variance that each component has. Two columns
        are returned as they are, with None.

    >>> points, shares = in_the_plane(np.array([[0.0, 0.0, 5.0], [3.0, 0.0, 5.0], [0.0, 1.0, 5.0]]))
    >>> points.shape, round(sum(shares), 6)
    ((3, 2), 1.0)
    """
    if table.shape[1] == 2:
        return table, None
    wide = np.pad(table - table.mean(0), ((0, 0), (0, max(0, 2 - table.shape[1]))))
    left, sizes, _ = np.linalg.svd(wide, full_matrices=False)
    first, second, *_ = (float(share) for share in sizes**2 / max((sizes**2).sum(), 1e-300))
    return left[:, :2] * sizes[:2], (first, second)
