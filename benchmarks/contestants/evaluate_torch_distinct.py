"""PyTorch with jaxmore's trick: the distinct contexts alone, weighted."""

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.contestants.torch_inference import logits_of
from benchmarks.distinct import tally


@torch.inference_mode()
def prepare(network: Any) -> Callable[[], float]:
    logits = logits_of(network)
    distinct = tally(network.X, network.Y, network.vocab_size)
    X, counts = torch.tensor(distinct.X, dtype=torch.long), torch.tensor(distinct.counts)
    n = len(network.Y)

    @torch.inference_mode()
    def run() -> float:
        return -float((counts * torch.log_softmax(logits(X), 1)).sum(1).double().sum() / n)

    return run
