"""The WaveNet-like model of lecture 6, which fuses neighbours in pairs, level by level."""

from jaxmore.layers import BatchNorm, Chain, Embedding, FlattenConsecutive, Linear, Normal, Tanh


def wavenet(vocab_size: int, *, block_size: int = 8, n_embd: int = 24, n_embd2: int = 128) -> Chain:
    """Return a tree-structured model of the context, with 76,579 parameters for 27 characters.

    It follows van den Oord et al. (2016), without dilated convolutions: it processes one context
    at a time. The initial scale of weights is 1/√fan-in, and a tenth of that for the head.

    Args:
        vocab_size: V.
        block_size: T, the length of the context, a power of two. The number of levels is log₂ T.
        n_embd: E, the length of a character's embedding.
        n_embd2: H, the width of each level.

    Raises:
        ValueError: if ``block_size`` is not a power of two.
    """
    if block_size < 2 or block_size & (block_size - 1):
        raise ValueError(f"block_size {block_size} is not a power of two, 2 or more")
    fan_ins = [2 * n_embd] + [2 * n_embd2] * (block_size.bit_length() - 2)
    return Chain(
        embedding=Embedding(vocab_size, n_embd),
        levels=Chain(
            **{
                str(i): Chain(
                    pairs=FlattenConsecutive(2),
                    hidden=Linear(fan_in, n_embd2, Normal(fan_in**-0.5), bias=None),
                    norm=BatchNorm(n_embd2),
                    act=Tanh(),
                )
                for i, fan_in in enumerate(fan_ins)
            }
        ),
        head=Linear(n_embd2, vocab_size, Normal(0.1 * n_embd2**-0.5), Normal(0.0)),
    )
