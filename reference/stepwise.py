"""The twin of ``jaxmore.ninja.stepwise``: the notebooks' network, line by line."""

from collections.abc import Mapping

import torch
from torch import Tensor


def forward(parameters: Mapping[str, Tensor], X: Tensor, Y: Tensor) -> dict[str, Tensor]:
    """Return every intermediate and the loss by name; each retains its gradient.

    Args:
        parameters: C, W1, b1, W2, b2, bngain and bnbias; seed 004 has no b1.
        X: (B, T) contexts.
        Y: (B,) targets.
    """
    p, n = parameters, X.shape[0]

    emb = p["C"][X]
    embcat = emb.view(emb.shape[0], -1)
    hprebn = embcat @ p["W1"]
    if "b1" in p:
        hprebn = hprebn + p["b1"]
    bnmeani = 1 / n * hprebn.sum(0, keepdim=True)
    bndiff = hprebn - bnmeani
    bndiff2 = bndiff**2
    bnvar = 1 / (n - 1) * bndiff2.sum(0, keepdim=True)
    bnvar_inv = (bnvar + 1e-5) ** -0.5
    bnraw = bndiff * bnvar_inv
    hpreact = p["bngain"] * bnraw + p["bnbias"]
    h = torch.tanh(hpreact)
    logits = h @ p["W2"] + p["b2"]
    logit_maxes = logits.max(1, keepdim=True).values
    norm_logits = logits - logit_maxes
    counts = norm_logits.exp()
    counts_sum = counts.sum(1, keepdim=True)
    counts_sum_inv = counts_sum**-1
    probs = counts * counts_sum_inv
    logprobs = probs.log()
    loss = -logprobs[range(n), Y].mean()

    values = {
        "emb": emb,
        "embcat": embcat,
        "hprebn": hprebn,
        "bnmeani": bnmeani,
        "bndiff": bndiff,
        "bndiff2": bndiff2,
        "bnvar": bnvar,
        "bnvar_inv": bnvar_inv,
        "bnraw": bnraw,
        "hpreact": hpreact,
        "h": h,
        "logits": logits,
        "logit_maxes": logit_maxes,
        "norm_logits": norm_logits,
        "counts": counts,
        "counts_sum": counts_sum,
        "counts_sum_inv": counts_sum_inv,
        "probs": probs,
        "logprobs": logprobs,
        "loss": loss,
    }
    for value in values.values():
        value.retain_grad()
    return values
