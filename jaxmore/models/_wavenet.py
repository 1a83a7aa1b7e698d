"""Zero-to-hero lecture 6: neighbours are fused in pairs, level by level, as in WaveNet."""

from jaxmore.layers import BatchNorm, Chain, Embedding, FlattenConsecutive, Linear, Normal, Tanh


def wavenet(vocab_size: int, *, block_size: int = 8, n_embd: int = 24, n_embd2: int = 128) -> Chain:
    """A tree over the context; 76,579 parameters at 27 characters.

    After van den Oord et al. (2016), without dilated convolutions: one context at a time. Weights
    start at 1/√fan-in, the head at a tenth of it.

    Args:
        vocab_size: V.
        block_size: T, the length of the context: a power of two, and its exponent the levels.
        n_embd: E, the length of a character's embedding.
        n_embd2: H, the width of every level.

    Raises:
        ValueError: ``block_size`` is no power of two.
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
