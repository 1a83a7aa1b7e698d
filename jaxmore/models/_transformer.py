"""makemore.py's transformer: GPT-2's, with the normalisation before each branch."""

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
    """The transformer; 204,544 parameters at 27 characters.

    Args:
        vocab_size: V.
        block_size: the most characters of a word, its start included.
        n_layer: how many blocks.
        n_head: N, a divisor of ``n_embd``.
        n_embd: E, the width of it all.
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
    """Attention mixes the places, then an MLP works on each: both add to what was there."""
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
