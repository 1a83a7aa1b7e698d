"""The recurrent networks of makemore.py, and an LSTM.

Each word starts from a learned initial state; a cell maps a character and the state to the next
state.
"""

from jaxmore.layers import Chain, Embedding, GruCell, LstmCell, RnnCell, ScanTime, fan_in_linear


def rnn(vocab_size: int, *, n_embd: int = 64, n_embd2: int = 64) -> Chain:
    """Return the plain recurrent network, with 11,803 parameters for 27 characters.

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
    """Return the gated recurrent unit, with 28,315 parameters for 27 characters.

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
    """Return the long short-term memory network, with 36,635 parameters for 27 characters.

    makemore's README lists an LSTM but makemore.py has none. This one follows its other cells: all
    gates act on [x, h], and the initial h and c are both learned.

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
