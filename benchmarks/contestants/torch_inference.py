"""What the PyTorch contestants of evaluation and sampling share: the folded inference network."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def logits_of(network: Any) -> Callable[[Tensor], Tensor]:
    """Contexts (B, T) to logits; BatchNorm's given statistics are folded into the hidden layer."""
    C, (W1, b1), (gain, bias), (W2, b2) = (
        torch.tensor(network.params["embedding"]["weight"]),
        *(
            [torch.tensor(network.params[layer][name]) for name in names]
            for layer, names in {
                "hidden": ("weight", "bias"),
                "norm": ("gain", "bias"),
                "head": ("weight", "bias"),
            }.items()
        ),
    )
    mean, var = (torch.tensor(network.stats["norm"][name]) for name in ("mean", "var"))
    scale = gain * torch.rsqrt(var + 1e-5)
    W, b = W1 * scale, (b1 - mean) * scale + bias

    def logits(x: Tensor) -> Tensor:
        h = torch.addmm(b, C[x].view(len(x), -1), W).tanh_()
        return torch.addmm(b2, h, W2)

    return logits
