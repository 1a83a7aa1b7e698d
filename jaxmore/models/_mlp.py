"""The multi-layer perceptrons: a context of n characters predicts the next one."""

from jaxmore.layers import (
    BatchNorm,
    Chain,
    Embedding,
    Flatten,
    Linear,
    Normal,
    Tanh,
    Windows,
    fan_in_linear,
)


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
        hidden=Linear(fan_in, n_embd2, _kaiming(fan_in), b1),
        norm=BatchNorm(n_embd2, gain=Normal(0.1, mean=1.0), bias=Normal(0.1)),
        act=Tanh(),
        head=Linear(n_embd2, vocab_size, Normal(0.1), Normal(0.1)),
    )


def deep_mlp_bn(
    vocab_size: int,
    *,
    block_size: int = 3,
    n_layer: int = 5,
    n_embd: int = 10,
    n_embd2: int = 100,
) -> Chain:
    """Zero-to-hero lecture 4's network of six layers; 47,024 parameters at 27 characters.

    No ``Linear`` has a bias, for a BatchNorm follows each: the last one too, whose gain of 0.1
    makes the first predictions unsure. The weights have Kaiming's 5/3 gain for tanh.

    Args:
        vocab_size: V.
        block_size: T, the length of the context.
        n_layer: how many hidden layers; the head makes one more.
        n_embd: E, the length of a character's embedding.
        n_embd2: H, the width of a hidden layer.
    """
    fan_ins = [block_size * n_embd] + [n_embd2] * (n_layer - 1)
    return Chain(
        embedding=Embedding(vocab_size, n_embd),
        flatten=Flatten(block_size),
        blocks=Chain(
            **{
                str(i): Chain(
                    hidden=Linear(fan_in, n_embd2, _kaiming(fan_in), bias=None),
                    norm=BatchNorm(n_embd2),
                    act=Tanh(),
                )
                for i, fan_in in enumerate(fan_ins)
            }
        ),
        head=Linear(n_embd2, vocab_size, _kaiming(n_embd2), bias=None),
        norm=BatchNorm(vocab_size, gain=Normal(0.0, mean=0.1)),
    )


def mlp(vocab_size: int, *, block_size: int = 16, n_embd: int = 64, n_embd2: int = 64) -> Chain:
    """makemore.py's ``mlp``; 69,147 parameters at 27 characters.

    It reads whole words, and makes each character's context itself: the last ``block_size`` ids,
    the newest first, and before the word a BLANK with an embedding of its own, id V.

    Args:
        vocab_size: V.
        block_size: the length of the context.
        n_embd: E, the length of a character's embedding.
        n_embd2: H, the width of the hidden layer.
    """
    return Chain(
        windows=Windows(block_size, blank=vocab_size, newest_first=True),
        embedding=Embedding(vocab_size + 1, n_embd),
        flatten=Flatten(block_size),
        hidden=fan_in_linear(block_size * n_embd, n_embd2),
        act=Tanh(),
        head=fan_in_linear(n_embd2, vocab_size),
    )


def _kaiming(fan_in: int) -> Normal:
    return Normal(5 / 3 / fan_in**0.5)
