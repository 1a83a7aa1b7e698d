"""The multi-layer perceptrons of the seeds: a context of n characters predicts the next one."""

from jaxmore.layers import BatchNorm, Chain, Embedding, Flatten, Linear, Normal, Tanh


def bengio(vocab_size: int, *, block_size: int = 3, n_embd: int = 2, n_embd2: int = 100) -> Chain:
    """Seed 002's network, after Bengio et al. (JMLR 2003); 3,481 parameters at 27 characters.

    Args:
        vocab_size: V.
        block_size: T, the length of the context.
        n_embd: E, the length of a character's embedding.
        n_embd2: H, the width of the hidden layer.
    """
    return Chain(
        embedding=Embedding(vocab_size, n_embd),
        flatten=Flatten(block_size),
        hidden=Linear(block_size * n_embd, n_embd2),
        act=Tanh(),
        head=Linear(n_embd2, vocab_size),
    )


def mlp_bn(
    vocab_size: int,
    *,
    block_size: int = 3,
    n_embd: int = 10,
    n_embd2: int = 200,
    hidden_bias: bool = True,
) -> Chain:
    """The BatchNorm network of seeds 000, 001, 003, 004; 12,297 parameters at 27 characters.

    Scales as in the seeds: Kaiming's 5/3 gain for tanh over the root of the fan-in, and 0.1,
    not zero, where zeros would mask a wrong gradient.

    Args:
        vocab_size: V.
        block_size: T, the length of the context.
        n_embd: E, the length of a character's embedding.
        n_embd2: H, the width of the hidden layer (64 in seed 000, 200 in seed 001's training).
        hidden_bias: b1, which BatchNorm makes useless (its gradient is zero by identity); seed
            004 has none.
    """
    fan_in = block_size * n_embd
    b1 = Normal(0.1) if hidden_bias else None
    return Chain(
        embedding=Embedding(vocab_size, n_embd),
        flatten=Flatten(block_size),
        hidden=Linear(fan_in, n_embd2, Normal(5 / 3 / fan_in**0.5), b1),
        norm=BatchNorm(n_embd2, gain=Normal(0.1, mean=1.0), bias=Normal(0.1)),
        act=Tanh(),
        head=Linear(n_embd2, vocab_size, Normal(0.1), Normal(0.1)),
    )
