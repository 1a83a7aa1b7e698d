"""microgpt: twin of ``jaxmore.models._microgpt``."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Causal attention of ``n_head`` heads, with the normalisation before it."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.qkv = nn.Linear(n_embd, 3 * n_embd, bias=False)
        self.proj = nn.Linear(n_embd, n_embd, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, E) to (B, T, E)."""
        parts = self.qkv(rms_norm(x)).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.n_head, -1)).transpose(1, 2) for part in parts)
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(o.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """A hidden layer of four times the width, with the normalisation before it."""

    def __init__(self, n_embd: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(n_embd, 4 * n_embd, bias=False)
        self.proj = nn.Linear(4 * n_embd, n_embd, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(*B, E) to (*B, E)."""
        return self.proj(torch.relu(self.hidden(rms_norm(x))))


class Microgpt(nn.Module):
    """A GPT with RMSNorm without gain, ReLU and no biases."""

    def __init__(
        self,
        vocab_size: int,
        *,
        block_size: int = 16,
        n_layer: int = 1,
        n_head: int = 4,
        n_embd: int = 16,
    ) -> None:
        super().__init__()
        self.embedding = nn.ModuleDict(
            {
                "token": nn.Embedding(vocab_size, n_embd),
                "position": nn.Embedding(block_size, n_embd),
            }
        )
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"attention": Attention(n_embd, n_head), "mlp": Mlp(n_embd)})
            for _ in range(n_layer)
        )
        self.head = nn.Linear(n_embd, vocab_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Ids (B, T) to logits (B, T, V)."""
        positions = torch.arange(x.shape[1])
        h = self.embedding["token"](x.long()) + self.embedding["position"](positions)
        h = rms_norm(h)
        for block in self.blocks:
            h = h + block["attention"](h)
            h = h + block["mlp"](h)
        return self.head(h)


def rms_norm(x: Tensor) -> Tensor:
    """Over the last axis, without a gain."""
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5)
