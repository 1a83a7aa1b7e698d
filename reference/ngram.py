"""makemore.py's bigram: twin of ``jaxmore.models._ngram``."""

from torch import Tensor, nn


class Bigram(nn.Module):
    """A table of logits."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.logits = nn.Embedding(vocab_size, vocab_size)

    def forward(self, x: Tensor) -> Tensor:
        """Ids (*B) to logits (*B, V)."""
        return self.logits(x.long())
