"""microgpt: the GPT of Karpathy's 200 lines of pure Python (February 2026)."""

from jaxmore.layers import (
    Add,
    CausalSelfAttention,
    Chain,
    Embedding,
    Linear,
    Normal,
    PositionEmbedding,
    Relu,
    Residual,
    RmsNorm,
)


def microgpt(
    vocab_size: int,
    *,
    block_size: int = 16,
    n_layer: int = 1,
    n_head: int = 4,
    n_embd: int = 16,
) -> Chain:
    """Return microgpt, with 4,192 parameters for 27 characters.

    It differs from :func:`transformer` as follows: RMSNorm without a gain instead of LayerNorm,
    also after the embeddings but not before the head; ReLU instead of GELU; no biases; and all
    weights initialised from N(0, 0.08).

    Args:
        vocab_size: V.
        block_size: the maximum sequence length, including the start token.
        n_layer: the number of blocks.
        n_head: N, the number of heads, a divisor of ``n_embd``.
        n_embd: E, the width of the residual stream.
    """
    return Chain(
        embedding=Add(
            token=Embedding(vocab_size, n_embd, _INIT),
            position=PositionEmbedding(block_size, n_embd, _INIT),
        ),
        norm=RmsNorm(),
        blocks=Chain(**{str(i): _block(block_size, n_head, n_embd) for i in range(n_layer)}),
        head=_linear(n_embd, vocab_size),
    )


_INIT = Normal(0.08)


def _block(block_size: int, n_head: int, n_embd: int) -> Chain:
    return Chain(
        attention=Residual(
            norm=RmsNorm(),
            qkv=_linear(n_embd, 3 * n_embd),
            heads=CausalSelfAttention(n_embd, n_head, block_size),
            proj=_linear(n_embd, n_embd),
        ),
        mlp=Residual(
            norm=RmsNorm(),
            hidden=_linear(n_embd, 4 * n_embd),
            act=Relu(),
            proj=_linear(4 * n_embd, n_embd),
        ),
    )


def _linear(n_in: int, n_out: int) -> Linear:
    return Linear(n_in, n_out, _INIT, bias=None)
