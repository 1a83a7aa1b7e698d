"""PyTorch twins of ``jaxmore.rules``, with the same names and arguments.

They call torch's own operation if there is one.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def batch_norm(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """The notebooks' form: torch.nn.BatchNorm1d would divide by n, not n − 1."""
    batch = tuple(range(x.ndim - 1))
    var, mean = torch.var_mean(x, batch, correction=1)
    return gain * (x - mean) / torch.sqrt(var + eps) + bias


def causal_attention(q: Tensor, k: Tensor, v: Tensor, block_size: int = 128) -> Tensor:
    """torch chooses its own block size."""
    del block_size
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def causal_mean(x: Tensor) -> Tensor:
    """As makemore's CausalBoW: a product with the lower triangle."""
    tril = torch.tril(torch.ones(x.shape[-2], x.shape[-2], dtype=x.dtype))
    return (tril / tril.sum(1, keepdim=True)) @ x


def dropout(x: Tensor, mask: Tensor, rate: float) -> Tensor:
    """With the mask that ``jaxmore`` drew instead of its key."""
    return x * (mask / (1 - rate))


def embedding(ids: Tensor, weight: Tensor) -> Tensor:
    """Rows of the table."""
    return F.embedding(ids, weight)


def flatten(x: Tensor, block_size: int) -> Tensor:
    """Concatenate the rows of a context."""
    del block_size
    return x.flatten(-2)


def flatten_consecutive(x: Tensor, n: int) -> Tensor:
    """Concatenate each n rows."""
    return x.reshape(*x.shape[:-2], x.shape[-2] // n, n * x.shape[-1])


def gelu(x: Tensor, approximate: bool) -> Tensor:
    """torch calls the two forms "tanh" and "none"."""
    return F.gelu(x, approximate="tanh" if approximate else "none")


def gru_cell(
    x: Tensor, h: Tensor, w_z: Tensor, b_z: Tensor, w_r: Tensor, b_r: Tensor, w_h: Tensor,
    b_h: Tensor,
) -> Tensor:  # fmt: skip
    """makemore's form: torch's own applies the reset gate after the matrix product."""
    xh = torch.cat([x, h], -1)
    z, r = torch.sigmoid(xh @ w_z + b_z), torch.sigmoid(xh @ w_r + b_r)
    h_hat = torch.tanh(torch.cat([x, r * h], -1) @ w_h + b_h)
    return (1 - z) * h + z * h_hat


def l2_penalty(weight: Tensor, scale: float) -> Tensor:
    """The mean of squares, as in lecture 2."""
    return scale * (weight**2).mean()


def layer_norm(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Over the last axis."""
    return F.layer_norm(x, x.shape[-1:], gain, bias, eps)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Weights are (in, out) here."""
    return F.linear(x, weight.T, bias)


def lstm_cell(
    x: Tensor, h: Tensor, c: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """torch's own cell, which has separate (out, in) weights and biases for x and h."""
    n_in, zero = x.shape[-1], torch.zeros_like(bias)
    flat = [a.reshape(-1, a.shape[-1]) for a in (x, h, c)]
    out = torch.lstm_cell(flat[0], flat[1:], weight[:n_in].T, weight[n_in:].T, bias, zero)
    return out[0].reshape(h.shape), out[1].reshape(h.shape)


def rms_norm(x: Tensor, gain: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Over the last axis."""
    return F.rms_norm(x, x.shape[-1:], gain, eps)


def rnn_cell(x: Tensor, h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """makemore's form."""
    return torch.tanh(torch.cat([x, h], -1) @ weight + bias)


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """Along an axis."""
    return F.softmax(x, axis)


def softmax_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean over the targets that are not −1; NaN where there are none."""
    rows = logits.reshape(-1, logits.shape[-1])
    return F.cross_entropy(rows, targets.reshape(-1), ignore_index=-1)


RULES: dict[str, Callable[..., Any]] = {
    rule.__name__: rule
    for rule in (
        batch_norm, causal_attention, causal_mean, dropout, embedding, flatten,
        flatten_consecutive, gelu, gru_cell, l2_penalty, layer_norm, linear, lstm_cell, rms_norm,
        rnn_cell, softmax, softmax_cross_entropy, torch.relu, torch.sigmoid, torch.tanh,
    )
}  # fmt: skip
