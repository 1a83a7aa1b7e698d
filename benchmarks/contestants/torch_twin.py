"""PyTorch eager with autograd: the twin of any model (reference/), and torch's fused AdamW."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from benchmarks.contestants.torch_data import DEVICE, batches_of, set_threads
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
    module = twin_of(task)
    return train_by(task, module.parameters(), lambda x, y: cross_entropy(module(x), y))


def twin_of(task: Task) -> torch.nn.Module:
    module = TWINS[task.type](task.vocab_size, **task.options)
    load(module, task.params)
    return module.to(DEVICE)


def train_by(
    task: Task, params: Iterable[Tensor], loss_of: Callable[[Tensor, Tensor], Tensor]
) -> Callable[[], np.ndarray]:
    set_threads(task)
    batches = batches_of(task)
    if task.dtype == "bfloat16":
        loss_of = torch.autocast(DEVICE, torch.bfloat16)(loss_of)
    if task.optimizer == "sgd":
        optimizer = torch.optim.SGD(params, task.learning_rate, fused=True)
    else:
        optimizer = torch.optim.AdamW(
            params, task.learning_rate, (0.9, 0.99), 1e-8, 0.01, fused=True
        )

    def run() -> np.ndarray:
        losses: list[Tensor] = []
        for x, y in zip(*batches(), strict=True):
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(x, y)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses).numpy(force=True)

    return run
