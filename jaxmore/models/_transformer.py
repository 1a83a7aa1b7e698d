"""The transformer of makemore.py: a GPT-2 with pre-normalisation."""

from jaxmore.layers import (
    Add,
    CausalSelfAttention,
    Chain,
    Embedding,
    Gelu,
    LayerNorm,
    PositionEmbedding,
    Residual,
    fan_in_linear,
)


def transformer(
    vocab_size: int,
    *,
    block_size: int = 16,
    n_layer: int = 4,
    n_head: int = 4,
    n_embd: int = 64,
) -> Chain:
    """Return the transformer, with 204,544 parameters for 27 characters.

    Args:
        vocab_size: V.
        block_size: the maximum sequence length, including the start token.
        n_layer: the number of blocks.
        n_head: N, the number of heads, a divisor of ``n_embd``.
        n_embd: E, the width of the residual stream.
    """
    return Chain(
        embedding=Add(
            token=Embedding(vocab_size, n_embd),
            position=PositionEmbedding(block_size, n_embd),
        ),
        blocks=Chain(**{str(i): block(block_size, n_head, n_embd) for i in range(n_layer)}),
        norm=LayerNorm(n_embd),
        head=fan_in_linear(n_embd, vocab_size, bias=False),
    )


def block(block_size: int, n_head: int, n_embd: int) -> Chain:
    """Return a transformer block: attention, then an MLP, each with a skip connection."""
    return Chain(
        attention=Residual(
            norm=LayerNorm(n_embd),
            qkv=fan_in_linear(n_embd, 3 * n_embd),
            heads=CausalSelfAttention(n_embd, n_head, block_size),
            proj=fan_in_linear(n_embd, n_embd),
        ),
        mlp=Residual(
            norm=LayerNorm(n_embd),
            hidden=fan_in_linear(n_embd, 4 * n_embd),
            act=Gelu(approximate=True),
            proj=fan_in_linear(4 * n_embd, n_embd),
        ),
    )
