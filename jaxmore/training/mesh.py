"""Devices: the mesh of a run, how its arrays lie on it, and the gradient of a sharded batch."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from jaxmore.backprop import loss_and_grad
from jaxmore.errors import InputError
from jaxmore.layers import Layer, Tree
from jaxmore.training.parts import DATA, sum_parts, sums_and_grads

MODEL = "model"
"""The mesh axis that the weights of a transformer are sharded over."""
PARTS = 8
"""The most parts of a batch in a fixed tree; a batch that 8 does not divide has 4, 2 or 1."""


def parse_mesh(text: str) -> dict[str, int]:
    """Read the sizes of the mesh axes from ``data=4,model=2``.

    Raises:
        InputError: it is not of this form, or names another axis.

    >>> parse_mesh("data=4,model=2")
    {'data': 4, 'model': 2}
    """
    sizes = {DATA: 1, MODEL: 1}
    seen: set[str] = set()
    for item in text.split(","):
        name, _, size = item.partition("=")
        if name not in sizes:
            raise InputError(f"--mesh {text}: there is no axis {name!r}, only data and model")
        if name in seen:
            raise InputError(f"--mesh {text}: the axis {name} is there twice")
        if not (size.isascii() and size.isdecimal() and int(size) >= 1):
            raise InputError(f"--mesh {text}: the size of {name} must be a whole number from 1 on")
        seen.add(name)
        sizes[name] = int(size)
    return sizes


@dataclass(frozen=True)
class Layout:
    """How a run is spread over devices. Calling it computes the loss and the gradient of a batch.

    It is hashable, and a static argument of the jitted loop in place of
    :func:`~jaxmore.backprop.loss_and_grad`.
    """

    data: int
    model: int = 1
    deterministic: bool = True

    @cached_property
    def mesh(self) -> Mesh:
        """The first data · model devices of all processes."""
        devices = np.array(jax.devices()[: self.data * self.model])
        return Mesh(devices.reshape(self.data, self.model), (DATA, MODEL))

    def place(self, tree: Any) -> Any:
        """Copy a tree of arrays or keys, equal in every process, onto every device of the mesh."""
        everywhere = NamedSharding(self.mesh, P())

        def put(a: Any) -> Array:
            if isinstance(a, Array) and jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
                return jax.random.wrap_key_data(put(jax.random.key_data(a)))
            values = np.array(a)  # not device_put, which would compare the processes' arrays
            return jax.make_array_from_callback(values.shape, everywhere, lambda at: values[at])

        return jax.tree.map(put, tree)

    def __call__(
        self, model: Layer, params: Tree, x: Int[Array, "B ..."], y: Int[Array, "B ..."]
    ) -> tuple[Float[Array, ""], Tree]:
        """Compute the mean cross-entropy of a batch and its gradient, the batch sharded."""
        if not self.deterministic:
            rows = NamedSharding(self.mesh, P(DATA))
            x, y = (lax.with_sharding_constraint(a, rows) for a in (x, y))
            return loss_and_grad(model, params, x, y)
        k = n_parts(len(x)) // self.data

        def of_device(params: Tree, x: Array, y: Array) -> Any:
            x, y = (a.reshape(k, len(a) // k, *a.shape[1:]) for a in (x, y))
            sums = sums_and_grads(model, params, x, y)
            return sum_parts(sums)

        sums: Any = jax.shard_map(
            of_device,
            mesh=self.mesh,
            in_specs=(P(), P(DATA), P(DATA)),
            out_specs=P(),
            check_vma=False,
        )
        loss, n, grads = sums(params, x, y)
        n = jnp.maximum(n, 1)
        return loss / n, jax.tree.map(lambda g: g / n.astype(g.dtype), grads)


def n_parts(batch_size: int) -> int:
    """Return the number of parts that a batch is summed in, whatever the layout."""
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
    except RuntimeError:  # JAX has started
        if len(jax.devices("cpu")) != n:
            there = len(jax.devices("cpu"))
            raise InputError(f"--cpu-devices {n}: JAX has started with {there}") from None


def choose_layout(mesh: str | None, batch_size: int, *, deterministic: bool) -> Layout | None:
    """Return the layout that the flags ask for, None without ``--mesh``.

    Raises:
        InputError: there are too few devices, or the mesh does not divide the batch.
    """
    if mesh is None:
        if not deterministic:
            raise InputError("--no-deterministic goes with --mesh")
        return None
    sizes = parse_mesh(mesh)
    n_devices, there = math.prod(sizes.values()), len(jax.devices())
    if n_devices > there:
        simulate = f", --cpu-devices {n_devices} simulates them" if there == 1 else ""
        raise InputError(f"--mesh {mesh} takes {n_devices} devices, JAX finds {there}{simulate}")
    if jax.process_count() > 1 and n_devices < there:
        raise InputError(f"--mesh {mesh}: {jax.process_count()} processes have {there} devices")
    if batch_size % sizes[DATA]:
        raise InputError(f"--mesh {mesh} does not divide --batch-size {batch_size}")
    parts = n_parts(batch_size)
    if deterministic and parts % sizes[DATA]:
        raise InputError(
            f"--mesh {mesh}: the batch of {batch_size} is summed in {parts} parts, which data must "
            "divide: --no-deterministic sums in any order"
        )
    return Layout(**sizes, deterministic=deterministic)
