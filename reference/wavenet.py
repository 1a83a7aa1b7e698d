"""Zero-to-hero lecture 6's tree of pairs: twin of ``jaxmore.models._wavenet``."""

import torch
from torch import Tensor, nn

from reference.mlp import BatchNorm


class Wavenet(nn.Module):
    """Concatenate pairs of neighbours, level by level, until one row is left."""

    def __init__(
        self, vocab_size: int, *, block_size: int = 8, n_embd: int = 24, n_embd2: int = 128
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, n_embd)
        self.levels = nn.ModuleList()
        width = n_embd
        while block_size > 1:
            hidden = nn.Linear(2 * width, n_embd2, bias=False)
            self.levels.append(nn.ModuleDict({"hidden": hidden, "norm": BatchNorm(n_embd2)}))
            block_size, width = block_size // 2, n_embd2
        self.head = nn.Linear(n_embd2, vocab_size)

    def forward(self, x: Tensor) -> Tensor:
        """Contexts (*B, T) to logits (*B, V)."""
        h = self.embedding(x.long())
        for level in self.levels:
            pairs = h.unflatten(-2, (-1, 2)).flatten(-2)
            h = torch.tanh(level["norm"](level["hidden"](pairs)))
        return self.head(h.squeeze(-2))
