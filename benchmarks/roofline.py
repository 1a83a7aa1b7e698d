"""A model of the time of a step on accelerators, from the account of its program.

docs/scaling.md derives the formulas and states the assumptions.
"""

import math
from typing import Any, NamedTuple

Row = dict[str, Any]
"""A step's account, as docs/scaling.json has it."""


class Machine(NamedTuple):
    """An accelerator and its network, as published; latencies are assumed."""

    name: str
    flops: float
    """A second, in products of float32 arrays at JAX's default precision."""
    hbm: float
    """Bytes a second of the memory."""
    axes: int
    """Of the torus; 1 is a switch, between all devices of a domain."""
    link: float
    """Bytes a second that a device sends along one axis of its domain."""
    domain: int
    """The devices that are joined by these links."""
    network: float
    """Bytes a second that a device sends to other domains."""
    source: str
    """Where the numbers stand."""


MACHINES = (
    Machine(
        *("H100 SXM", 494.7e12, 3.35e12, 1, 450e9, 8, 50e9),
        "[H100](https://www.nvidia.com/en-us/data-center/h100/), "
        "[DGX H100](https://docs.nvidia.com/dgx-basepod/reference-architecture-infrastructure-"
        "foundation-enterprise-ai/latest/core-components.html): "
        "TF32 without sparsity, NVLink 900 GB/s both ways, a port of 400 Gb/s for each GPU",
    ),
    Machine(
        *("TPU v5e", 197e12, 819e9, 2, 100e9, 256, 3.125e9),
        "[v5e](https://cloud.google.com/tpu/docs/v5e): bfloat16, ICI 1,600 Gb/s a chip, "
        "6.4 Tb/s a pod of 256 to other pods",
    ),
    Machine(
        *("TPU v5p", 459e12, 2765e9, 3, 200e9, 6144, 6.25e9),
        "[v5p](https://cloud.google.com/tpu/docs/v5p): bfloat16, ICI 1,200 GB/s a chip both ways, "
        "jobs of up to 6,144 chips, 50 Gb/s a chip to others",
    ),
)
HOP, NETWORK_HOP = 1e-6, 10e-6
"""The assumed seconds of a message to a neighbour, and to another domain."""


def width(machine: Machine, n: int, along: int, model: int) -> float:
    """Return the bytes a second at which n devices gather a large array.

    Args:
        machine: theirs.
        n: the devices of a group.
        along: the axes of a torus that the group has.
        model: M, the devices of a share, which are neighbours.
    """
    inside = min(n, max(1, machine.domain // model))
    link, outside = machine.link * along, n // inside
    # Every device sends what is missing of its n-th: first to other domains, then within its own.
    of_link = (inside - 1) / inside / link
    of_network = (outside - 1) / outside / inside / machine.network
    return 1 / (of_link + of_network) if n > 1 else math.inf


def seconds(machine: Machine, row: Row) -> tuple[float, float, float, float]:
    """Predict a step: its products, its memory, collectives over data, collectives over model.

    Raises:
        ValueError: the groups of both axes have the same size, by which they are told apart.
    """
    over_data = over_model = 0.0
    model = row["model"]
    if 1 < model == row["n"] // model:
        raise ValueError(f"data and model both have {model} devices")
    for kind, n, count, size in row["collectives"]:
        is_model = model > 1 and n == model
        shared = machine.axes > 1 and model > 1
        along = 1 if is_model else machine.axes - 1 if shared else machine.axes
        domain = machine.domain if is_model else max(1, machine.domain // model)
        inside = min(n, domain)
        hops = math.log2(inside) if machine.axes == 1 else along * inside ** (1 / along) / 2
        latency = HOP * hops + NETWORK_HOP * math.log2(n // inside) if n > 1 else 0.0
        passes = 2 if kind == "all-reduce" else 1  # it scatters sums, then gathers them
        took = passes * (size / width(machine, n, along, 1 if is_model else model))
        took += passes * count * latency
        if is_model:
            over_model += took
        else:
            over_data += took
    return row["flops"] / machine.flops, row["bytes"] / machine.hbm, over_data, over_model


def crossover(machine: Machine, row: Row) -> float:
    """Return the tokens of a share below which a step takes longer to send than to multiply."""
    products, _, over_data, over_model = seconds(machine, row)
    left = products - over_model  # both grow with the tokens
    return row["tokens"] * over_data / left if left > 0 else math.inf


def model_axis(machine: Machine, features: int) -> float:
    """Return M up to which four all-reduces a layer take less time than its products."""
    return 1 + 9 / 4 * features * machine.link / machine.flops
