"""Devices: how a run is shared among them, and the gradient of a batch that is sharded."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, UInt32

from jaxmore.backprop import loss_and_grad
from jaxmore.errors import InputError
from jaxmore.layers import Cell, Layer, Tree
from jaxmore.training.loop import COMPILER_OPTIONS, Devices, TrainState, scan_steps, train_chunk
from jaxmore.training.parts import DATA, map_parts, sum_parts, sums_and_grads

PARTS = 8
"""The most parts of a batch in a fixed tree; a batch that 8 does not divide has 4, 2 or 1."""
DETERMINISTIC_OPTIONS = COMPILER_OPTIONS | {"xla_disable_hlo_passes": "spmd-simplify,spmd-cleanup"}
"""XLA has these passes for a program on several devices alone. What they simplify is fused in other
ways, and fused operations round otherwise."""


@dataclass(frozen=True)
class Layout:
    """A batch sharded over devices. Calling it computes the loss and the gradient of a batch.

    It is hashable, and a static argument of the jitted loop in place of
    :func:`~jaxmore.backprop.loss_and_grad`.
    """

    data: int
    """The number of devices."""
    deterministic: bool = True
    """Whether to sum the parts of the batch in a fixed tree, or in the compiler's order."""

    @cached_property
    def mesh(self) -> Mesh:
        """The first devices of all processes."""
        return Mesh(np.array(jax.devices()[: self.data]), (DATA,))

    def place(self, tree: Any) -> Any:
        """Copy a tree of arrays or keys, equal in every process, onto every device of the mesh."""
        everywhere = NamedSharding(self.mesh, P())

        def put(a: Any) -> Array:
            if isinstance(a, Array) and jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
                return jax.random.wrap_key_data(put(jax.random.key_data(a)))
            values = np.array(a)  # not device_put, which would compare the processes' arrays
            return jax.make_array_from_callback(values.shape, everywhere, lambda at: values[at])

        return jax.tree.map(put, tree)

    def on_each(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Call a function on every device, with equal arguments and results."""
        return jax.shard_map(function, mesh=self.mesh, in_specs=P(), out_specs=P(), check_vma=False)

    def __call__(
        self, model: Layer, params: Tree, x: Int[Array, "B ..."], y: Int[Array, "B ..."]
    ) -> tuple[Float[Array, ""], Tree]:
        """Compute the mean cross-entropy of a batch and its gradient.

        If deterministic, every device calls it (:meth:`on_each`), and computes its share.
        """
        if not self.deterministic:
            rows = NamedSharding(self.mesh, P(DATA))
            x, y = (lax.with_sharding_constraint(a, rows) for a in (x, y))
            return loss_and_grad(model, params, x, y)
        k = n_parts(len(x)) // self.data  # parts of a device

        def share(a: Array) -> Array:
            parts = a.reshape(self.data, k, -1, *a.shape[1:])
            return lax.dynamic_index_in_dim(parts, lax.axis_index(DATA), keepdims=False)

        def means(sums: Any) -> Any:
            loss, n, grads = sums
            n = jnp.maximum(n, 1)
            return loss / n, jax.tree.map(lambda g: g / n.astype(g.dtype), grads)

        sums = sum_parts(sums_and_grads(model, params, share(x), share(y)))
        # In a loop of its own: XLA would fuse the optimiser with a sum that depends on the layout.
        one = map_parts(means, jax.tree.map(lambda a: a[None], sums))
        return jax.tree.map(lambda a: a[0], one)


@partial(
    jax.jit,
    static_argnames=("layout", "model", "optimizer", "batch_size", "n_steps"),
    donate_argnames="state",
    compiler_options=DETERMINISTIC_OPTIONS,
)
def _deterministic_chunk(
    layout: Layout,
    model: Layer,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    X: Int[Array, "... T"],
    Y: Int[Array, "..."],
    key: Array | None,
    first_step: Int[Array, ""],
    *,
    batch_size: int,
    n_steps: int,
) -> tuple[TrainState, Float[Array, " S"], dict[str, Float[Array, ""]], UInt32[Array, " B"]]:
    """Run ``scan_steps`` on every device, where XLA cannot partition the optimiser otherwise."""

    def steps(*arrays: Any) -> Any:
        *results, hashes = scan_steps(
            model, optimizer, *arrays, batch_size=batch_size, n_steps=n_steps, gradient=layout
        )
        # Each device answers for the rows of its share. The next program adds them up: Gloo would
        # mix up messages that no data orders after those of the steps.
        return *results, hashes.reshape(layout.data, -1)[lax.axis_index(DATA)]

    out = (P(), P(), P(), P(DATA))
    each: Callable[..., Any] = jax.shard_map(
        steps, mesh=layout.mesh, in_specs=P(), out_specs=out, check_vma=False
    )
    return each(state, X, Y, key, first_step)


def choose_devices(
    mesh: str, batch_size: int, model: Layer, *, deterministic: bool = True
) -> Devices:
    """Return where the steps of a run are computed.

    Args:
        mesh: ``data=N``.
        batch_size: B.
        model: the model of the run.
        deterministic: see :class:`Layout`.

    Raises:
        InputError: there are too few devices, the mesh does not divide the batch, or the model
            cannot be computed part by part.
    """
    size = parse_mesh(mesh)
    there, n_processes = len(jax.devices()), jax.process_count()
    if size > there:
        simulate = f": --cpu-devices {size} simulates them" if there == 1 else ""
        raise InputError(f"--mesh {mesh} takes {size} devices, JAX finds {there}{simulate}")
    if n_processes > 1 and size < there:
        raise InputError(f"--mesh {mesh}: the {n_processes} processes have {there} devices")
    if batch_size % size:
        raise InputError(f"--mesh {mesh} does not divide --batch-size {batch_size}")
    if deterministic:
        anything = "or --no-deterministic for any order of addition"
        if n_parts(batch_size) % size:
            raise InputError(
                f"--mesh {mesh}: a batch of {batch_size} is summed in {n_parts(batch_size)} parts, "
                f"which data must divide, {anything}"
            )
        if own := _layer_of_ones_own(model):
            raise InputError(
                f"--mesh {mesh}: {own} is not of jaxmore, and could mix the examples of a batch, "
                f"which is computed in parts: leave --mesh out, {anything}"
            )
    layout = Layout(size, deterministic)
    chunk = (
        partial(_deterministic_chunk, layout)
        if deterministic
        else partial(train_chunk, gradient=layout)
    )
    return Devices(chunk, layout.place, layout.place, on_one_device)


def parse_mesh(text: str) -> int:
    """Read the number of devices from ``data=N``.

    Raises:
        InputError: it is not of this form, or names another axis.

    >>> parse_mesh("data=4")
    4
    """
    name, _, size = text.partition("=")
    if name != DATA or "," in size:
        raise InputError(f"--mesh {text}: there is only the axis data, as in data=2")
    if not (size.isascii() and size.isdecimal() and int(size) >= 1):
        raise InputError(f"--mesh {text}: the size of data must be a whole number from 1 on")
    return int(size)


def n_parts(batch_size: int) -> int:
    """Return the number of parts that a batch is summed in, whatever the layout.

    >>> [n_parts(batch_size) for batch_size in (32, 12, 6, 7)]
    [8, 4, 2, 1]
    """
    return math.gcd(batch_size, PARTS)


def on_one_device(tree: Any) -> Any:
    """Copy a tree of replicated arrays to the first device of this process."""
    return jax.tree.map(lambda a: jnp.array(np.asarray(a)), tree)


def simulate_devices(n: int) -> None:
    """Make JAX see n devices on the CPU, for ``--mesh``.

    Raises:
        InputError: JAX has already started with another number.
    """
    try:
        jax.config.update("jax_num_cpu_devices", n)
        jax.config.update("jax_platforms", "cpu")  # else a GPU would be found first
    except RuntimeError:  # JAX has started
        there = len(jax.devices("cpu"))
        if there != n:
            raise InputError(f"--cpu-devices {n}: JAX has started with {there}") from None


def _layer_of_ones_own(part: Any) -> str | None:
    """Name a layer or a cell that is not of jaxmore; None if there is none."""
    if isinstance(part, tuple):
        return next(filter(None, map(_layer_of_ones_own, part)), None)
    if not isinstance(part, Layer | Cell):
        return None
    if not type(part).__module__.startswith("jaxmore."):
        return type(part).__name__
    return _layer_of_ones_own(tuple(getattr(part, field.name) for field in fields(part)))
