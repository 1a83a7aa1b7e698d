"""PyTorch eager with autograd: the twin of any model (reference/), and torch's fused AdamW."""

from collections.abc import Callable

import numpy as np
import torch

from benchmarks.contestants.torch_data import set_threads, steps
from benchmarks.task import Task
from reference import bow, mlp, ngram, recurrent, transformer, wavenet
from reference.twin import cross_entropy, load

TWINS: dict[str, Callable[..., torch.nn.Module]] = {
    "bigram": ngram.Bigram,
    "mlp": mlp.Mlp,
    "bow": bow.Bow,
    "rnn": recurrent.Rnn,
    "gru": recurrent.Gru,
    "lstm": recurrent.Lstm,
    "transformer": transformer.Transformer,
    "wavenet": wavenet.Wavenet,
    "deep-mlp-bn": mlp.DeepMlpBn,
    "mlp-bn": mlp.MlpBn,
}


def prepare(task: Task) -> Callable[[], np.ndarray]:
    set_threads(task)
    module = TWINS[task.type](task.vocab_size, **task.options)
    load(module, task.params)
    optimizer = torch.optim.AdamW(
        module.parameters(), task.learning_rate, (0.9, 0.99), 1e-8, 0.01, fused=True
    )

    def run() -> np.ndarray:
        losses: list[torch.Tensor] = []
        for x, y in steps(task):
            loss = cross_entropy(module(x), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses).numpy()

    return run
