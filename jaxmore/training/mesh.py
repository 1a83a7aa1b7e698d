"""Devices: how a run is shared among them."""

from dataclasses import fields, replace
from functools import partial
from typing import Any

import jax
import optax
from jax import lax
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, UInt32

from jaxmore.compiler import CpuJit
from jaxmore.errors import InputError
from jaxmore.layers import Cell, Layer
from jaxmore.training.layout import Layout
from jaxmore.training.loop import COMPILER_OPTIONS, Devices, TrainState, scan_steps, train_chunk
from jaxmore.training.parts import DATA, n_parts
from jaxmore.training.sharding import MODEL, specs, split

DETERMINISTIC_OPTIONS = {"xla_disable_hlo_passes": "spmd-simplify,spmd-cleanup"}
"""XLA has these passes for a program on several devices alone. What they simplify is fused in other
ways, and fused operations round otherwise."""


@partial(
    CpuJit,
    cpu_options=COMPILER_OPTIONS,
    compiler_options=DETERMINISTIC_OPTIONS,
    static_argnames=("layout", "model", "optimizer", "batch_size", "n_steps"),
    donate_argnames="state",
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
    given_batches = key is None  # of which each device has its rows

    def steps(*arrays: Any) -> Any:
        *results, hashes = scan_steps(
            model,
            optimizer,
            *arrays,
            batch_size=batch_size,
            n_steps=n_steps,
            gradient=replace(layout, own_rows=given_batches),
            gather=partial(layout.gather, model),
        )
        # Each device answers for the rows of its share. The next program adds them up: Gloo would
        # mix up messages that no data orders after those of the steps.
        return *results, hashes.reshape(layout.data, -1)[lax.axis_index(DATA)]

    of_state = layout.specs(model, state)
    of_data = P(None, DATA) if given_batches else P()
    of_inputs = (of_state, of_data, of_data, P(), P())
    each = layout.on_each(steps, of_inputs, (of_state, P(), P(), P(DATA)))
    return each(state, X, Y, key, first_step)


def choose_devices(
    mesh: str,
    batch_size: int,
    model: Layer,
    *,
    deterministic: bool = True,
    shard_params: bool = False,
) -> Devices:
    """Return where the steps of a run are computed.

    Args:
        mesh: ``data=N``, ``model=M`` or ``data=N,model=M``.
        batch_size: B.
        model: the model of the run.
        deterministic: see :class:`Layout`.
        shard_params: see :class:`Layout`.

    Raises:
        InputError: there are too few devices, the mesh does not divide the batch or the heads, or
            the model cannot be computed part by part.
    """
    n_data, n_model = parse_mesh(mesh)
    size = n_data * n_model
    there, n_processes = len(jax.devices()), jax.process_count()
    if size > there:
        simulate = f": --cpu-devices {size} simulates them" if there == 1 else ""
        raise InputError(f"--mesh {mesh} takes {size} devices, but JAX finds {there}{simulate}")
    if n_processes > 1 and size < there:
        raise InputError(f"--mesh {mesh}: the {n_processes} processes have {there} devices")
    if batch_size % n_data:
        raise InputError(f"--mesh {mesh} does not divide --batch-size {batch_size}")
    if n_model > 1:
        try:
            attentions = split(model, n_model).regrouped
        except ValueError as error:
            raise InputError(f"--mesh {mesh}: {error}") from error
        if not attentions:
            raise InputError(f"--mesh {mesh}: the model has no attention to shard over model")
    if deterministic:
        anything = "or add --no-deterministic"
        if n_model > 1:
            raise InputError(
                f"--mesh {mesh}: the sums over model have no fixed order: leave model out, "
                f"{anything}"
            )
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
    layout = Layout(n_data, deterministic, n_model, shard_params)
    chunk = (
        partial(_deterministic_chunk, layout)
        if deterministic
        else partial(train_chunk, gradient=layout)
    )
    note = _name_whole(layout, model) if shard_params and n_data > 1 else ""
    return Devices(
        run_chunk=chunk,
        place=layout.place,
        place_batches=partial(layout.place_batches, batch_size),
        begin=partial(layout.begin, model),
        snapshot=partial(layout.snapshot, model),
        add_shardings=partial(layout.add_shardings, model),
        fetch=partial(layout.fetch, model),
        note=note,
    )


def _name_whole(layout: Layout, model: Layer) -> str:
    found = specs(model, layout.model, layout.data)
    whole = ", ".join(".".join(path) for path, spec in found.items() if spec == P())
    return whole and f"whole on every device, since data={layout.data} divides no axis: {whole}"


def parse_mesh(text: str) -> tuple[int, int]:
    """Read the sizes of the axes data and model from ``data=N,model=M``; one that is left out is 1.

    Raises:
        InputError: it is not of this form.

    >>> parse_mesh("data=4"), parse_mesh("data=4,model=2")
    ((4, 1), (4, 2))
    """
    sizes: dict[str, int] = {}
    for part in text.split(","):
        name, _, size = part.partition("=")
        if name not in {DATA, MODEL} or name in sizes:
            raise InputError(f"--mesh {text}: the axes are data and model, as in data=4,model=2")
        if not (size.isascii() and size.isdecimal() and int(size) >= 1):
            raise InputError(f"--mesh {text}: the size of {name} must be a whole number from 1 on")
        sizes[name] = int(size)
    return sizes.get(DATA, 1), sizes.get(MODEL, 1)


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
