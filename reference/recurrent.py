"""makemore.py's recurrent networks and an LSTM: twins of ``jaxmore.models._recurrent``."""

import torch
from torch import Tensor, nn


class Recurrent(nn.Module):
    """A cell in a loop over time, from a learned initial state."""

    def __init__(self, vocab_size: int, n_embd: int, hidden: "Loop") -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, n_embd)
        self.hidden = hidden
        self.head = nn.Linear(hidden.start.shape[1], vocab_size)

    def forward(self, x: Tensor) -> Tensor:
        """Ids (B, T) to logits (B, T, V)."""
        return self.head(self.hidden(self.embedding(x.long())))


class Loop(nn.Module):
    """(B, T, E) to (B, T, H). ``start`` has a row for each array of the state."""

    def __init__(self, cell: nn.Module, n_states: int, n_hidden: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(n_states, n_hidden))
        self.cell = cell

    def next(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the next state, with the hidden state first."""
        raise NotImplementedError(f"{type(self).__name__} does not say what one step is")

    def forward(self, x: Tensor) -> Tensor:
        """Run all steps."""
        state = tuple(row.expand(len(x), -1) for row in self.start)
        hidden = []
        for x_t in x.unbind(1):
            state = self.next(x_t, state)
            hidden.append(state[0])
        return torch.stack(hidden, 1)


class RnnLoop(Loop):
    def next(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (torch.tanh(self.cell(torch.cat([x, state[0]], 1))),)


class GruGates(nn.Module):
    """The three maps of a GRU cell."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.update = nn.Linear(n_in, n_out)
        self.reset = nn.Linear(n_in, n_out)
        self.candidate = nn.Linear(n_in, n_out)


class GruLoop(Loop):
    def next(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (h,) = state
        xh = torch.cat([x, h], 1)
        update = torch.sigmoid(self.cell.update(xh))
        reset = torch.sigmoid(self.cell.reset(xh))
        candidate = torch.tanh(self.cell.candidate(torch.cat([x, reset * h], 1)))
        return ((1 - update) * h + update * candidate,)


class LstmLoop(Loop):
    def next(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, c = state
        i, f, g, o = self.cell(torch.cat([x, h], 1)).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class Rnn(Recurrent):
    """The plain recurrent network."""

    def __init__(self, vocab_size: int, *, n_embd: int = 64, n_embd2: int = 64) -> None:
        cell = nn.Linear(n_embd + n_embd2, n_embd2)
        super().__init__(vocab_size, n_embd, RnnLoop(cell, 1, n_embd2))


class Gru(Recurrent):
    """The gated recurrent unit in makemore's form."""

    def __init__(self, vocab_size: int, *, n_embd: int = 64, n_embd2: int = 64) -> None:
        cell = GruGates(n_embd + n_embd2, n_embd2)
        super().__init__(vocab_size, n_embd, GruLoop(cell, 1, n_embd2))


class Lstm(Recurrent):
    """Long short-term memory, all gates in one matrix product."""

    def __init__(self, vocab_size: int, *, n_embd: int = 64, n_embd2: int = 64) -> None:
        cell = nn.Linear(n_embd + n_embd2, 4 * n_embd2)
        super().__init__(vocab_size, n_embd, LstmLoop(cell, 2, n_embd2))
