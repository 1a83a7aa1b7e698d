"""The bag of words of makemore.py."""

from jaxmore.layers import (
    Add,
    CausalMean,
    Chain,
    Embedding,
    PositionEmbedding,
    Residual,
    Tanh,
    fan_in_linear,
)


def bow(vocab_size: int, *, block_size: int = 16, n_embd: int = 64, n_embd2: int = 64) -> Chain:
    """Return the bag-of-words model, with 12,827 parameters for 27 characters.

    Args:
        vocab_size: V.
        block_size: the maximum sequence length, including the start token.
        n_embd: E, the length of an embedding.
        n_embd2: H, the width of the hidden layer.
    """
    return Chain(
        embedding=Add(
            token=Embedding(vocab_size, n_embd),
            position=PositionEmbedding(block_size, n_embd),
        ),
        bag=Residual(mean=CausalMean(n_embd)),
        mlp=Residual(
            hidden=fan_in_linear(n_embd, n_embd2),
            act=Tanh(),
            proj=fan_in_linear(n_embd2, n_embd),
        ),
        head=fan_in_linear(n_embd, vocab_size),
    )
