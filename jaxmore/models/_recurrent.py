"""makemore.py's recurrent networks, and the LSTM that it promised.

A learned state starts each word; one cell takes a character and the state to the next state.
"""

from jaxmore.layers import Chain, Embedding, GruCell, LstmCell, RnnCell, ScanTime, fan_in_linear


def rnn(vocab_size: int, *, n_embd: int = 64, n_embd2: int = 64) -> Chain:
    """The plain recurrent network; 11,803 parameters at 27 characters.

    Args:
        vocab_size: V.
        n_embd: E, the length of a character's embedding.
        n_embd2: H, the width of the state.
    """
    return Chain(
        embedding=Embedding(vocab_size, n_embd),
        hidden=ScanTime(RnnCell(n_embd, n_embd2)),
        head=fan_in_linear(n_embd2, vocab_size),
    )


def gru(vocab_size: int, *, n_embd: int = 64, n_embd2: int = 64) -> Chain:
    """The gated recurrent unit; 28,315 parameters at 27 characters.

    Args:
        vocab_size: V.
        n_embd: E, the length of a character's embedding.
        n_embd2: H, the width of the state.
    """
    return Chain(
        embedding=Embedding(vocab_size, n_embd),
        hidden=ScanTime(GruCell(n_embd, n_embd2)),
        head=fan_in_linear(n_embd2, vocab_size),
    )


def lstm(vocab_size: int, *, n_embd: int = 64, n_embd2: int = 64) -> Chain:
    """Long short-term memory; 36,635 parameters at 27 characters.

    makemore's README names it, makemore.py has none: here it is in the form of its others, all
    gates from [x, h], and starts for both h and c learned.

    Args:
        vocab_size: V.
        n_embd: E, the length of a character's embedding.
        n_embd2: H, the width of the state.
    """
    return Chain(
        embedding=Embedding(vocab_size, n_embd),
        hidden=ScanTime(LstmCell(n_embd, n_embd2)),
        head=fan_in_linear(n_embd2, vocab_size),
    )
