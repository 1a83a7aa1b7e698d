"""The definition of every rule in plain PyTorch. Its autograd is the oracle."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F


def _normal(x, variance, mean, eps):
    return (x - mean) / torch.sqrt(variance + eps)


def batch_norm(x, gain, bias, *, eps=1e-5):
    axes = tuple(range(x.ndim - 1))
    variance, mean = torch.var_mean(x, axes, correction=1)
    return gain * _normal(x, variance, mean, eps) + bias


def layer_norm(x, gain, bias, *, eps=1e-5):
    variance, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
    return gain * _normal(x, variance, mean, eps) + bias


def rms_norm(x, gain=None, *, eps=1e-5):
    x_hat = _normal(x, (x**2).mean(-1, keepdim=True), 0, eps)
    return x_hat if gain is None else gain * x_hat


def causal_attention(q, k, v, *, block_size=128):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    unseen = torch.ones(scores.shape[-2:]).triu(1).bool()
    return scores.masked_fill(unseen, -torch.inf).softmax(-1) @ v


def causal_mean(x):
    return torch.stack([x[..., : t + 1, :].mean(-2) for t in range(x.shape[-2])], -2)


def softmax_cross_entropy(logits, targets):
    rows, labels = logits.reshape(-1, logits.shape[-1]), targets.reshape(-1)
    total = F.cross_entropy(rows, labels, ignore_index=-1, reduction="sum")
    return total / (labels != -1).sum().clamp(min=1)


def gelu(x, *, approximate):
    return F.gelu(x, approximate="tanh" if approximate else "none")


def flatten(x, *, block_size):
    return torch.cat([x[..., t, :] for t in range(block_size)], -1)


def flatten_consecutive(x, *, n):
    groups = [flatten(x[..., t : t + n, :], block_size=n) for t in range(0, x.shape[-2], n)]
    return torch.stack(groups, -2)


def linear(x, weight, bias=None):
    y = x @ weight
    return y if bias is None else y + bias


def rnn_cell(x, h, weight, bias):
    return torch.tanh(torch.cat([x, h], -1) @ weight + bias)


def gru_cell(x, h, w_z, b_z, w_r, b_r, w_h, b_h):
    xh = torch.cat([x, h], -1)
    z, r = torch.sigmoid(xh @ w_z + b_z), torch.sigmoid(xh @ w_r + b_r)
    h_hat = torch.tanh(torch.cat([x, r * h], -1) @ w_h + b_h)
    return h + z * (h_hat - h)


def lstm_cell(x, h, c, weight, bias):
    i, f, g, o = (torch.cat([x, h], -1) @ weight + bias).chunk(4, -1)
    c_new = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c_new), c_new


DEFINITIONS: dict[str, Callable[..., Any]] = {
    "batch_norm": batch_norm,
    "causal_attention": causal_attention,
    "causal_mean": causal_mean,
    "dropout": lambda x, mask, *, rate: x * mask / (1 - rate),
    "embedding": lambda ids, weight: weight[ids],
    "flatten": flatten,
    "flatten_consecutive": flatten_consecutive,
    "gelu": gelu,
    "gru_cell": gru_cell,
    "l2_penalty": lambda weight, *, scale: scale * (weight**2).mean(),
    "layer_norm": layer_norm,
    "linear": linear,
    "lstm_cell": lstm_cell,
    "relu": torch.relu,
    "rms_norm": rms_norm,
    "rnn_cell": rnn_cell,
    "sigmoid": torch.sigmoid,
    "softmax": lambda x, *, axis=-1: torch.softmax(x, axis),
    "softmax_cross_entropy": softmax_cross_entropy,
    "tanh": torch.tanh,
}
