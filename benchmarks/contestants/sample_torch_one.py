"""PyTorch as the seeds sample: one name after the other, one character after the other."""

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.contestants.torch_inference import logits_of


@torch.inference_mode()
def prepare(network: Any) -> Callable[[], list[str]]:
    torch.set_num_threads(1)
    logits = logits_of(network)
    alphabet = "." + network.characters

    @torch.inference_mode()
    def run() -> list[str]:
        words: list[str] = []
        for _ in range(network.n_words):
            context, word = [0, 0, 0], ""
            while len(word) < network.max_length:
                probs = torch.softmax(logits(torch.tensor([context])), 1)
                i = int(torch.multinomial(probs, 1))
                if i == 0:
                    break
                context = [*context[1:], i]
                word += alphabet[i]
            words.append(word)
        return words

    return run
