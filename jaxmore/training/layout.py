"""A layout of devices: where the arrays of a run lie, and the gradient of a shared batch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from jaxmore.backprop import loss_and_grad
from jaxmore.layers import Layer, Tree
from jaxmore.rules._recompute import without_recomputing
from jaxmore.training.loop import TrainState
from jaxmore.training.parts import (
    DATA,
    gather_shards,
    map_parts,
    n_parts,
    scatter_parts,
    sum_parts,
    sums_and_grads,
)
from jaxmore.training.sharding import MODEL, Path, of_parameter, regroup, specs, split

REPLICATED = P()
"""On every device."""


@dataclass(frozen=True)
class Layout:
    """A batch sharded over devices. Calling it computes the loss and the gradient of a batch.

    It is hashable, and a static argument of the jitted loop in place of
    :func:`~jaxmore.backprop.loss_and_grad`.
    """

    data: int
    """The number of shares of a batch."""
    deterministic: bool = True
    """Whether to sum the parts of the batch in a fixed tree, or in the compiler's order."""
    model: int = 1
    """The number of devices for each share, which hold a shard of a transformer's weights each."""
    shard_params: bool = False
    """Whether a device holds only a shard of parameters and optimiser state, over ``data``."""
    own_rows: bool = False
    """Whether a device that calls it is given the rows of its share alone, not the whole batch."""

    @cached_property
    def mesh(self) -> Mesh:
        """The first devices of all processes."""
        devices = np.array(jax.devices()[: self.data * self.model])
        return Mesh(devices.reshape(self.data, self.model), (DATA, MODEL))

    def specs(self, model: Layer, state: Any, *, gathered: bool = False) -> Any:
        """Return the mesh axes of each array of a state, or of parameters.

        Args:
            model: the model.
            state: a tree whose paths end with those of the parameters.
            gathered: leave out the shards over ``data``.
        """
        sharded = self.shard_params and not gathered
        table = specs(model, self.model, self.data if sharded else 1)
        return jax.tree.map_with_path(lambda path, _: of_parameter(table, path, P()), state)

    def place(self, tree: Any) -> Any:
        """Copy a tree of arrays or keys, equal in every process, onto every device of the mesh."""

        def put(a: Any) -> Array:
            if isinstance(a, Array) and jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
                return jax.random.wrap_key_data(put(jax.random.key_data(a)))
            return self._put(np.array(a), P())

        return jax.tree.map(put, tree)

    def place_batches(self, batch_size: int, make: Callable[[slice], Any]) -> Any:
        """Make batches whose rows lie where they are computed.

        Args:
            batch_size: B.
            make: returns the rows of a slice of B, as arrays (S, rows, ...). Each process calls it
                once, for the slice that holds all rows of its devices.

        Returns:
            The arrays (S, B, ...), sharded over ``data``.
        """
        sharding = NamedSharding(self.mesh, P(None, DATA))
        held = sharding.addressable_devices_indices_map((1, batch_size)).values()
        spans = [at[1].indices(batch_size) for at in held if at]
        first, end = min(span[0] for span in spans), max(span[1] for span in spans)

        def put(own: np.ndarray) -> Array:
            def rows(at: Any) -> np.ndarray:
                start, stop, _ = at[1].indices(batch_size)
                return own[:, start - first : stop - first]

            shape = (own.shape[0], batch_size, *own.shape[2:])
            return jax.make_array_from_callback(shape, sharding, rows)

        return jax.tree.map(put, make(slice(first, end)))

    def begin(self, model: Layer, state: Any) -> Any:
        """Copy a state to the devices, to each its shards.

        Its arrays are those of a :meth:`snapshot`, or equal in every process. It may be a tree of
        parameters alone.
        """
        regrouped = self._regrouped(model)

        def put(path: Any, a: Any, spec: P) -> Array:
            sizes = (3, self.model) if of_parameter(regrouped, path, default=False) else None
            if isinstance(a, Array) and isinstance(a.sharding, NamedSharding):
                return _copied(a, sizes, NamedSharding(self.mesh, spec))
            values = np.array(a)
            return self._put(regroup(values, *sizes) if sizes else values, spec)

        return jax.tree.map_with_path(put, state, self.specs(model, state))

    def snapshot(self, model: Layer, state: TrainState) -> TrainState:
        """Copy a state where it lies, in the order of columns that the model has."""
        regrouped = self._regrouped(model)

        def copy(path: Any, a: Array, spec: P) -> Array:
            sizes = (self.model, 3) if of_parameter(regrouped, path, default=False) else None
            return _copied(a, sizes, NamedSharding(self.mesh, spec))

        return jax.tree.map_with_path(copy, state, self.specs(model, state))

    def add_shardings(self, model: Layer, shapes: TrainState) -> TrainState:
        """Add the shardings of a snapshot to the shapes of a state."""

        def add(a: Any, spec: P) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=NamedSharding(self.mesh, spec))

        return jax.tree.map(add, shapes, self.specs(model, shapes))

    def fetch(self, model: Layer, params: Tree) -> Tree:
        """Copy parameters from the devices to one."""
        regrouped = self._regrouped(model)

        def get(path: Any, a: Array) -> Array:
            values = _whole(a)
            is_regrouped = of_parameter(regrouped, path, default=False)
            return jnp.array(regroup(values, self.model, 3) if is_regrouped else values)

        return jax.tree.map_with_path(get, params)

    def _regrouped(self, model: Layer) -> dict[Path, bool]:
        return dict.fromkeys(split(model, self.model).regrouped if self.model > 1 else (), True)

    def _put(self, values: np.ndarray, spec: P) -> Array:
        # not device_put, which would compare the processes' arrays
        sharding = NamedSharding(self.mesh, spec)
        return jax.make_array_from_callback(values.shape, sharding, lambda at: values[at])

    def on_each(
        self, function: Callable[..., Any], in_specs: Any = REPLICATED, out_specs: Any = REPLICATED
    ) -> Callable[..., Any]:
        """Call a function on every device, by default with equal arguments and results."""
        return jax.shard_map(
            function, mesh=self.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
        )

    def gather(self, model: Layer, params: Any) -> Any:
        """Make trees of parameters whole on every device, each of which calls it."""
        shards, structure = jax.tree.flatten(params)
        return jax.tree.unflatten(structure, gather_shards(shards, self._data_axes(model, params)))

    def _data_axes(self, model: Layer, tree: Any) -> list[int | None]:
        specs = map(tuple, jax.tree.leaves(self.specs(model, tree)))
        return [spec.index(DATA) if DATA in spec else None for spec in specs]

    def __call__(
        self, model: Layer, params: Tree, x: Int[Array, "B ..."], y: Int[Array, "B ..."]
    ) -> tuple[Float[Array, ""], Tree]:
        """Compute the mean cross-entropy of a batch and its gradient.

        If deterministic, every device calls it (:meth:`on_each`), and computes its share. With
        :attr:`own_rows` x and y are that share.
        """
        if self.deterministic:
            return self._in_a_tree(model, params, x, y)

        def constrain(tree: Any, specs: Any) -> Any:
            shardings = jax.tree.map(partial(NamedSharding, self.mesh), specs)
            return lax.with_sharding_constraint(tree, shardings)

        gathered = self.specs(model, params, gathered=True)
        layer = split(model, self.model).layer if self.model > 1 else model
        with without_recomputing():  # else each signal is a sum over the devices of its own
            loss, grads = loss_and_grad(
                layer, constrain(params, gathered), *constrain((x, y), (P(DATA), P(DATA)))
            )
        # Whole first: asked for shards at once, XLA exchanges activations.
        return loss, constrain(constrain(grads, gathered), self.specs(model, params))

    def _in_a_tree(self, model: Layer, params: Tree, x: Array, y: Array) -> tuple[Array, Tree]:
        batch_size = len(x) * self.data if self.own_rows else len(x)
        k = n_parts(batch_size) // self.data  # parts of a device

        def share(a: Array) -> Array:
            if self.own_rows:
                return a.reshape(k, -1, *a.shape[1:])
            parts = a.reshape(self.data, k, -1, *a.shape[1:])
            return lax.dynamic_index_in_dim(parts, lax.axis_index(DATA), keepdims=False)

        def means(sums: Any) -> Any:
            loss, n, grads = sums
            n = jnp.maximum(n, 1)
            return loss / n, jax.tree.map(lambda g: g / n.astype(g.dtype), grads)

        parts = sums_and_grads(model, self.gather(model, params), share(x), share(y))
        if self.shard_params:
            leaves, structure = jax.tree.flatten(parts)
            shards = scatter_parts(leaves, self._data_axes(model, parts))
            sums = jax.tree.unflatten(structure, shards)
        else:
            sums = sum_parts(parts)
        # In a loop of its own: XLA would fuse the optimiser with a sum that depends on the layout.
        one = map_parts(means, jax.tree.map(lambda a: a[None], sums))
        return jax.tree.map(lambda a: a[0], one)


@partial(jax.jit, static_argnames=("sizes", "sharding"))
def _copied(a: Array, sizes: tuple[int, int] | None, sharding: NamedSharding) -> Array:
    # A program for each array, since Gloo mixes up messages that no data orders.
    values = regroup(a, *sizes) if sizes else jnp.copy(a)
    return lax.with_sharding_constraint(values, sharding)


def _whole(a: Array) -> np.ndarray:
    """Copy an array of several devices to the host; every process calls it."""
    if not (a.is_fully_addressable or a.is_fully_replicated):
        from jax.experimental import multihost_utils

        a = multihost_utils.process_allgather(a, tiled=True)
    return np.array(a)
