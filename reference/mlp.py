"""The multi-layer perceptrons: twins of ``jaxmore.models._mlp``."""

import torch
from torch import Tensor, nn


class Bengio(nn.Module):
    """Bengio et al. (JMLR 2003), as in notebook 002."""

    def __init__(
        self, vocab_size: int, *, block_size: int = 3, n_embd: int = 2, n_embd2: int = 100
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, n_embd)
        self.hidden = nn.Linear(block_size * n_embd, n_embd2)
        self.head = nn.Linear(n_embd2, vocab_size)

    def forward(self, x: Tensor) -> Tensor:
        """Contexts (*B, T) to logits (*B, V)."""
        embedded = self.embedding(x.long()).flatten(-2)
        return self.head(torch.tanh(self.hidden(embedded)))


class BatchNorm(nn.Module):
    """Batch normalisation with the unbiased variance in training.

    ``nn.BatchNorm1d`` normalises with the biased one. Training mode saves the statistics of the
    last batch, so a forward pass over a data set followed by ``eval()`` calibrates on it.
    """

    mean: Tensor
    var: Tensor

    def __init__(self, n_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.gain = nn.Parameter(torch.ones(n_features))
        self.bias = nn.Parameter(torch.zeros(n_features))
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("var", torch.ones(n_features))

    def forward(self, x: Tensor) -> Tensor:
        """(*B, H) to (*B, H), normalised over all axes but the last."""
        mean, var = self.mean, self.var
        if self.training:
            rows = x.flatten(0, -2)
            mean, var = rows.mean(0), rows.var(0, unbiased=True)
            self.mean, self.var = mean.detach(), var.detach()
        return self.gain * (x - mean) / torch.sqrt(var + self.eps) + self.bias


class MlpBn(nn.Module):
    """The BatchNorm network of notebooks 000, 001, 003 and 004."""

    def __init__(
        self,
        vocab_size: int,
        *,
        block_size: int = 3,
        n_embd: int = 10,
        n_embd2: int = 200,
        hidden_bias: bool = True,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, n_embd)
        self.hidden = nn.Linear(block_size * n_embd, n_embd2, bias=hidden_bias)
        self.norm = BatchNorm(n_embd2)
        self.head = nn.Linear(n_embd2, vocab_size)

    def forward(self, x: Tensor) -> Tensor:
        """Contexts (*B, T) to logits (*B, V)."""
        embedded = self.embedding(x.long()).flatten(-2)
        return self.head(torch.tanh(self.norm(self.hidden(embedded))))


class DeepMlpBn(nn.Module):
    """The network of six layers of zero-to-hero lecture 4."""

    def __init__(
        self,
        vocab_size: int,
        *,
        block_size: int = 3,
        n_layer: int = 5,
        n_embd: int = 10,
        n_embd2: int = 100,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, n_embd)
        self.blocks = nn.ModuleList()
        for n_in in [block_size * n_embd] + [n_embd2] * (n_layer - 1):
            hidden = nn.Linear(n_in, n_embd2, bias=False)
            self.blocks.append(nn.ModuleDict({"hidden": hidden, "norm": BatchNorm(n_embd2)}))
        self.head = nn.Linear(n_embd2, vocab_size, bias=False)
        self.norm = BatchNorm(vocab_size)

    def forward(self, x: Tensor) -> Tensor:
        """Contexts (*B, T) to logits (*B, V)."""
        h = self.embedding(x.long()).flatten(-2)
        for block in self.blocks:
            h = torch.tanh(block["norm"](block["hidden"](h)))
        return self.norm(self.head(h))


class Mlp(nn.Module):
    """makemore.py's mlp: the context of a position is its last ids, newest first."""

    def __init__(
        self, vocab_size: int, *, block_size: int = 16, n_embd: int = 64, n_embd2: int = 64
    ) -> None:
        super().__init__()
        self.blank, self.block_size = vocab_size, block_size
        self.embedding = nn.Embedding(vocab_size + 1, n_embd)
        self.hidden = nn.Linear(block_size * n_embd, n_embd2)
        self.head = nn.Linear(n_embd2, vocab_size)

    def forward(self, x: Tensor) -> Tensor:
        """Ids (B, T) to logits (B, T, V)."""
        ids = nn.functional.pad(x.long(), (self.block_size - 1, 0), value=self.blank)
        contexts = ids.unfold(1, self.block_size, 1).flip(-1)
        return self.head(torch.tanh(self.hidden(self.embedding(contexts).flatten(-2))))
