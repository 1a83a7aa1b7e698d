"""The twins of ``jaxmore.ninja.attention`` and ``jaxmore.ninja.gru``, line by line."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F


def attention(parameters: Mapping[str, Tensor], X: Tensor, Y: Tensor) -> dict[str, Tensor]:
    """Return every intermediate and the loss by name; each retains its gradient.

    Args:
        parameters: C, P, gain, bias, Wq, Wk, Wv, Wo and Wout.
        X: (B, T) characters.
        Y: (B, T) targets.
    """
    p = parameters
    (B, T), E = X.shape, p["C"].shape[1]
    N, D = 2, E // 2

    def split(a: Tensor) -> Tensor:
        return a.view(B, T, N, D).transpose(1, 2)

    x = p["C"][X] + p["P"]
    lnmean = x.mean(-1, keepdim=True)
    lndiff = x - lnmean
    lnvar = (lndiff**2).mean(-1, keepdim=True)
    lnvar_inv = (lnvar + 1e-5) ** -0.5
    lnraw = lndiff * lnvar_inv
    normed = p["gain"] * lnraw + p["bias"]
    q, k, v = (normed @ p[name] for name in ("Wq", "Wk", "Wv"))
    qh, kh, vh = split(q), split(k), split(v)
    scores = qh @ kh.transpose(-2, -1) / D**0.5
    masked = scores.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), -1e30)
    probs = masked.softmax(-1)
    heads = probs @ vh
    joined = heads.transpose(1, 2).reshape(B, T, E)
    proj = joined @ p["Wo"]
    y = x + proj
    logits = y @ p["Wout"]
    loss = F.cross_entropy(logits.view(B * T, -1), Y.reshape(-1))

    return _retained(
        x=x, lnmean=lnmean, lndiff=lndiff, lnvar=lnvar, lnvar_inv=lnvar_inv, lnraw=lnraw,
        normed=normed, q=q, k=k, v=v, qh=qh, kh=kh, vh=vh, scores=scores, masked=masked,
        probs=probs, heads=heads, joined=joined, proj=proj, y=y, logits=logits, loss=loss,
    )  # fmt: skip


def gru(parameters: Mapping[str, Tensor], X: Tensor, Y: Tensor) -> dict[str, Tensor]:
    """Return every intermediate and the loss by name; each retains its gradient.

    Args:
        parameters: C, start, Wz, bz, Wr, br, Wh, bh, Wout and bout.
        X: (B, T) characters. The names of step t end in t, from 1 to T.
        Y: (B, T) targets.
    """
    p, (B, T) = parameters, X.shape
    emb = p["C"][X]
    h = p["start"].expand(B, -1)
    values, states = {"emb": emb, "h0": h}, []
    for t in range(T):
        xh = torch.cat([emb[:, t], h], 1)
        az, ar = xh @ p["Wz"] + p["bz"], xh @ p["Wr"] + p["br"]
        z, r = az.sigmoid(), ar.sigmoid()
        xrh = torch.cat([emb[:, t], r * h], 1)
        ah = xrh @ p["Wh"] + p["bh"]
        hhat = ah.tanh()
        h = (1 - z) * h + z * hhat
        states.append(h)
        step = {"xh": xh, "az": az, "z": z, "ar": ar, "r": r, "xrh": xrh, "ah": ah, "hhat": hhat}
        values |= {f"{name}{t + 1}": value for name, value in (step | {"h": h}).items()}
    hs = torch.stack(states, 1)
    logits = hs @ p["Wout"] + p["bout"]
    loss = F.cross_entropy(logits.view(B * T, -1), Y.reshape(-1))
    return _retained(**values, hs=hs, logits=logits, loss=loss)


def _retained(**values: Tensor) -> dict[str, Tensor]:
    for value in values.values():
        value.retain_grad()
    return values
