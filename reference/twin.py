"""Shared by all twins: loading parameters, reading gradients, and the loss."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def load(module: nn.Module, params: Mapping[str, Any]) -> None:
    """Copy a jaxmore parameter tree into the module, in the module's own dtype.

    Args:
        module: its parameters have jaxmore's paths.
        params: dicts of arrays, or of such dicts.

    Raises:
        ValueError: if paths or shapes differ.
    """
    ours, theirs = dict(module.named_parameters()), _by_path(params)
    if ours.keys() != theirs.keys():
        raise ValueError(f"paths on one side only: {sorted(ours.keys() ^ theirs.keys())}")
    for path, parameter in ours.items():
        value = _orient(module, path, torch.tensor(np.asarray(theirs[path])))
        if value.shape != parameter.shape:
            raise ValueError(f"{path} is {tuple(parameter.shape)}, got {tuple(value.shape)}")
        parameter.data.copy_(value)


def parameters(module: nn.Module) -> dict[str, np.ndarray]:
    """Return the parameters with jaxmore's paths and orientation."""
    return {p: _orient(module, p, t.detach()).numpy() for p, t in module.named_parameters()}


def gradients(module: nn.Module) -> dict[str, np.ndarray]:
    """Return the gradients with jaxmore's paths and orientation."""
    return {p: _orient(module, p, _gradient(t)).numpy() for p, t in module.named_parameters()}


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean loss over targets that are not −1, or zero if all of them are."""
    total = F.cross_entropy(
        logits.flatten(0, -2), targets.flatten().long(), ignore_index=-1, reduction="sum"
    )
    return total / (targets != -1).sum().clamp(min=1)


def _orient(module: nn.Module, path: str, value: Tensor) -> Tensor:
    """Transpose the weight of an ``nn.Linear`` between (in, out) and (out, in)."""
    owner, _, name = path.rpartition(".")
    is_weight = name == "weight" and isinstance(module.get_submodule(owner), nn.Linear)
    return value.T if is_weight else value


def _gradient(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        raise ValueError("no gradient: call backward() first")
    return parameter.grad


def _by_path(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            leaves |= _by_path(value, f"{prefix}{name}.")
        else:
            leaves[prefix + name] = value
    return leaves
