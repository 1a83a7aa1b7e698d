"""PyTorch's forward over every window, in blocks that stay in the cache."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.contestants.torch_inference import logits_of

ROWS = 4096


@torch.inference_mode()
def prepare(network: Any) -> Callable[[], float]:
    logits = logits_of(network)
    X, Y = (torch.tensor(a, dtype=torch.long) for a in (network.X, network.Y))

    @torch.inference_mode()
    def run() -> float:
        blocks = zip(X.split(ROWS), Y.split(ROWS), strict=True)
        sums = [F.cross_entropy(logits(x), y, reduction="sum") for x, y in blocks]
        return float(torch.stack(sums).double().sum() / len(Y))

    return run
