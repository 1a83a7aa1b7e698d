"""Backpropagation through a model, using the hand-derived backward passes of its layers."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxmore import notebook, rules
from jaxmore.layers import Layer, Tree, by_path


def loss_and_grad(
    model: Layer,
    params: Tree,
    x: Int[Array, "*B"],
    y: Int[Array, "*C"],
    key: Array | None = None,
) -> tuple[Float[Array, ""], Tree]:
    """Compute the mean cross-entropy of a batch and its gradient by the hand-derived rules.

    The function is pure; compile it with the model as a static argument:
    ``jax.jit(loss_and_grad, static_argnums=0)``. Check ids and targets first, since neither raises
    an error: an id out of range reads another row of the table, and a target out of range gives a
    wrong loss and gradient.

    Args:
        model: maps ids to logits (*C, V).
        params: the parameters of the model.
        x: ids in the form that the model reads, such as contexts (B, T).
        y: targets (*C) in [0, V), or −1 to ignore a position.
        key: a key for models with dropout.

    Returns:
        The mean loss over the targets that are not −1 (0 if there are none), and its gradient, a
        tree like ``params``.

    >>> import jax, jax.numpy as jnp
    >>> from jaxmore.layers import Chain, Embedding, Normal
    >>> model = Chain(embedding=Embedding(3, 3, weight=Normal(0.0)))  # logits all zero
    >>> params = model.init(jax.random.key(0))
    >>> loss, grads = loss_and_grad(model, params, jnp.array([0]), jnp.array([1]))
    >>> round(float(loss), 4)  # log 3
    1.0986
    """
    logits, res = model.fwd(params, x, key)
    loss, loss_res = rules.softmax_cross_entropy_fwd(logits, y)
    dlogits, _ = rules.softmax_cross_entropy_bwd(loss_res, jnp.ones_like(loss))
    dparams, _ = model.bwd(params, res, dlogits)
    return loss, dparams


class _Place(NamedTuple):
    value: Array
    cotangent: Array | None  # None for ids
    dparams: Tree


@dataclass(frozen=True)
class _Traced(Layer):
    """Wraps a layer to return its output and the cotangent of the output along with dparams."""

    layer: Layer

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, Any]:
        y, res = self.layer.fwd(params, x, key)
        return y, (res, y)

    def bwd(self, params: Tree, res: Any, dy: Array | None) -> tuple[Any, Array | None]:
        layer_res, y = res
        dparams, dx = self.layer.bwd(params, layer_res, cast(Array, dy))
        return _Place(y, dy, dparams), dx


@jax.tree_util.register_pytree_with_keys_class
class Trace(dict[str, tuple[Array, Array]]):
    """What :func:`trace` returns: {path: (value, cotangent)}. A notebook shows it as heat maps."""

    def tree_flatten_with_keys(self) -> tuple[Any, tuple[str, ...]]:
        """Return the pairs with their paths, and the paths."""
        keys = tuple(self)
        return [(jax.tree_util.DictKey(key), self[key]) for key in keys], keys

    @classmethod
    def tree_unflatten(cls, keys: tuple[str, ...], pairs: Any) -> "Trace":
        """Make it again from the paths and the pairs."""
        return cls(zip(keys, pairs, strict=True))

    def _repr_html_(self) -> str:
        rows = (
            (path, str(value.shape), notebook.heat_map(value), notebook.heat_map(cotangent))
            for path, (value, cotangent) in self.items()
        )
        return notebook.table(("place", "shape", "value", "cotangent"), rows)


@partial(jax.jit, static_argnums=0)
def trace(model: Layer, params: Tree, x: Int[Array, "*B"], y: Int[Array, "*C"]) -> Trace:
    """Return the value and the cotangent of every layer and parameter, from one jitted call.

    The passes are those of training without a key: BatchNorm uses the statistics of this batch, and
    Dropout is the identity.

    Args:
        model: maps ids to logits (*C, V).
        params: the parameters of the model.
        x: ids in the form that the model reads, such as contexts (B, T).
        y: targets (*C) in [0, V), or −1 to ignore a position.

    Returns:
        A dict from path to (value, cotangent). The output of the layer "hidden" is under "hidden",
        its weight under "hidden.weight" and the loss under "loss". Layers that return ids have no
        cotangent and are left out.
    """

    def traced(layer: Layer) -> Layer:
        return _Traced(layer.map(traced))

    loss, places = loss_and_grad(model.map(traced), params, x, y)
    # The gradient of a traced model has a _Place where a layer's dparams would be. The dict keys on
    # the way to a leaf are its path. A leaf is a value if it is the attribute ``value`` of a
    # _Place, else a cotangent. The cotangent of ids is None, which is no leaf.
    values: Tree = {}
    cotangents: Tree = {}
    for keys, leaf in jax.tree_util.tree_leaves_with_path(places):
        path = ".".join(k.key for k in keys if isinstance(k, jax.tree_util.DictKey))
        is_value = keys[-1] == jax.tree_util.GetAttrKey("value")
        (values if is_value else cotangents)[path] = leaf
    values |= by_path(params) | {"loss": loss}
    cotangents["loss"] = jnp.ones_like(loss)
    return Trace({path: (values[path], cotangent) for path, cotangent in cotangents.items()})
