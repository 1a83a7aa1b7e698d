"""PyTorch eager with seed 001's manual backward: closed forms, in place where it helps."""

from collections.abc import Callable

import numpy as np
import torch

from benchmarks.contestants.flat import flat_parameters
from benchmarks.contestants.torch_data import batches_of, set_threads
from benchmarks.task import Task


@torch.inference_mode()
def prepare(task: Task) -> Callable[[], np.ndarray]:
    set_threads(task)
    batches = batches_of(task)
    flat, params = flat_parameters(task.params)
    dflat, grads = flat_parameters(task.params)
    p, dp = torch.from_numpy(flat), torch.from_numpy(dflat)  # the views below share their memory
    C, W1, b1, gain, bias, W2, b2 = map(torch.from_numpy, params)
    dC, dW1, db1, dgain, dbias, dW2, db2 = map(torch.from_numpy, grads)
    n = task.batch_size
    E = C.shape[1]

    @torch.inference_mode()
    def run() -> np.ndarray:
        losses: list[torch.Tensor] = []
        for x, y in zip(*batches(), strict=True):
            # forward
            ids, targets = x.view(-1), y.view(n, 1)
            embcat = C.index_select(0, ids).view(n, -1)
            hprebn = torch.addmm(b1, embcat, W1)
            bndiff = hprebn.sub_(hprebn.sum(0).div_(n))
            # torch.var_mean took a third of the whole step.
            bnvar = (bndiff * bndiff).sum(0).div_(n - 1)
            bnvar_inv = bnvar.add_(1e-5).rsqrt_()
            bnraw = bndiff.mul_(bnvar_inv)
            h = torch.addcmul(bias, bnraw, gain).tanh_()
            logprobs = torch.log_softmax(torch.addmm(b2, h, W2), 1)
            losses.append(logprobs.gather(1, targets).mean())
            # backward
            dlogits = logprobs.exp_().scatter_add_(1, targets, torch.full((n, 1), -1.0)).div_(n)
            torch.mm(h.T, dlogits, out=dW2)
            torch.sum(dlogits, 0, out=db2)
            dh = dlogits @ W2.T
            dhpreact = torch.addcmul(dh, h.mul_(h), dh, value=-1)
            torch.sum(dhpreact * bnraw, 0, out=dgain)
            torch.sum(dhpreact, 0, out=dbias)
            dhpreact.sub_(dbias / n).addcmul_(bnraw, dgain / (n - 1), value=-1)
            dhprebn = dhpreact.mul_(gain * bnvar_inv)
            torch.mm(embcat.T, dhprebn, out=dW1)
            torch.sum(dhprebn, 0, out=db1)
            dC.zero_().index_add_(0, ids, (dhprebn @ W1.T).view(-1, E))
            # update
            p.add_(dp, alpha=-task.learning_rate)
        return -torch.stack(losses).numpy()

    return run
