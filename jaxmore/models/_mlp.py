"""Multi-layer perceptrons, which predict the next character from the last n."""

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
    """Return the network of Bengio et al. (JMLR 2003), with 3,481 parameters for 27 characters.

    This is the model of notebook 002.

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
    """Return the notebooks' network with BatchNorm, with 12,297 parameters for 27 characters.

    Notebooks 000, 001, 003 and 004 use it. Initial scales are theirs: the Kaiming gain of 5/3 for
    tanh over the root of the fan-in, and 0.1 instead of zero, which would mask a wrong gradient.

    Args:
        vocab_size: V.
        block_size: T, the length of the context.
        n_embd: E, the length of a character's embedding.
        n_embd2: H, the width of the hidden layer (64 in notebook 000, 200 in the training of 001).
        hidden_bias: whether to include b1. BatchNorm cancels it (its gradient is zero by identity);
            notebook 004 omits it.
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
    """Return the six-layer network of lecture 4, with 47,024 parameters for 27 characters.

    No ``Linear`` has a bias, because a BatchNorm follows each of them. The gain of the last one
    starts at 0.1, so that the initial predictions are close to uniform. Weights use the Kaiming
    gain of 5/3 for tanh.

    Args:
        vocab_size: V.
        block_size: T, the length of the context.
        n_layer: the number of hidden layers, not counting the head.
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
    """Return the ``mlp`` of makemore.py, with 69,147 parameters for 27 characters.

    It reads whole words and builds the context of each character itself: the last ``block_size``
    ids, newest first. Positions before the word hold a BLANK token, id V, with its own embedding.

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
