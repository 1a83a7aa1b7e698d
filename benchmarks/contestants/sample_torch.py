"""PyTorch, all names side by side; names that have ended leave the batch."""

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.contestants.torch_inference import logits_of


@torch.inference_mode()
def prepare(network: Any) -> Callable[[], list[str]]:
    logits = logits_of(network)
    alphabet = "." + network.characters

    @torch.inference_mode()
    def run() -> list[str]:
        ids = torch.zeros((network.n_words, network.max_length), dtype=torch.long)
        context = torch.zeros((network.n_words, 3), dtype=torch.long)
        alive = torch.arange(network.n_words)
        for t in range(network.max_length):
            probs = torch.softmax(logits(context), 1)
            drawn = torch.multinomial(probs, 1)
            ids[alive, t] = drawn[:, 0]
            going = drawn[:, 0].nonzero()[:, 0]
            alive = alive[going]
            context = torch.cat([context[going, 1:], drawn[going]], 1)
            if not len(alive):
                break
        return ["".join(alphabet[i] for i in row).split(".", 1)[0] for row in ids.tolist()]

    return run
