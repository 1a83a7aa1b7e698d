"""makemore.py's bag of words: twin of ``jaxmore.models._bow``."""

import torch
from torch import Tensor, nn


class Bow(nn.Module):
    """Token and position embeddings, a causal mean and an MLP, both with skip connections."""

    def __init__(
        self, vocab_size: int, *, block_size: int = 16, n_embd: int = 64, n_embd2: int = 64
    ) -> None:
        super().__init__()
        self.embedding = nn.ModuleDict(
            {
                "token": nn.Embedding(vocab_size, n_embd),
                "position": nn.Embedding(block_size, n_embd),
            }
        )
        self.mlp = nn.ModuleDict(
            {"hidden": nn.Linear(n_embd, n_embd2), "proj": nn.Linear(n_embd2, n_embd)}
        )
        self.head = nn.Linear(n_embd, vocab_size)

    def forward(self, x: Tensor) -> Tensor:
        """Ids (B, T) to logits (B, T, V)."""
        n_steps = x.shape[1]
        positions = torch.arange(n_steps, device=x.device)
        h = self.embedding["token"](x.long()) + self.embedding["position"](positions)
        allowed = torch.ones(n_steps, n_steps).tril().to(h)
        h = h + allowed / allowed.sum(1, keepdim=True) @ h
        h = h + self.mlp["proj"](torch.tanh(self.mlp["hidden"](h)))
        return self.head(h)
