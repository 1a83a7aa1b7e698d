"""makemore.py's transformer: twin of ``jaxmore.models._transformer``."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm(nn.Module):
    """``nn.LayerNorm`` whose weight is called gain."""

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(n_features))
        self.bias = nn.Parameter(torch.zeros(n_features))

    def forward(self, x: Tensor) -> Tensor:
        """(*B, E) to (*B, E)."""
        return F.layer_norm(x, self.gain.shape, self.gain, self.bias)


class Attention(nn.Module):
    """Causal attention of ``n_head`` heads, with the normalisation before it."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.norm = LayerNorm(n_embd)
        self.qkv = nn.Linear(n_embd, 3 * n_embd)
        self.proj = nn.Linear(n_embd, n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, E) to (B, T, E)."""
        parts = self.qkv(self.norm(x)).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.n_head, -1)).transpose(1, 2) for part in parts)
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(o.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """A hidden layer of four times the width, with the normalisation before it."""

    def __init__(self, n_embd: int) -> None:
        super().__init__()
        self.norm = LayerNorm(n_embd)
        self.hidden = nn.Linear(n_embd, 4 * n_embd)
        self.proj = nn.Linear(4 * n_embd, n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """(*B, E) to (*B, E)."""
        return self.proj(F.gelu(self.hidden(self.norm(x)), approximate="tanh"))


class Transformer(nn.Module):
    """GPT-2's architecture."""

    def __init__(
        self,
        vocab_size: int,
        *,
        block_size: int = 16,
        n_layer: int = 4,
        n_head: int = 4,
        n_embd: int = 64,
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
        self.norm = LayerNorm(n_embd)
        self.head = nn.Linear(n_embd, vocab_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Ids (B, T) to logits (B, T, V)."""
        positions = torch.arange(x.shape[1], device=x.device)
        h = self.embedding["token"](x.long()) + self.embedding["position"](positions)
        for block in self.blocks:
            h = h + block["attention"](h)
            h = h + block["mlp"](h)
        return self.head(self.norm(h))
