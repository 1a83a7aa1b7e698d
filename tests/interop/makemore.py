"""makemore.py's models as torch modules, written anew with its names and in their order.

makemore.py has no LSTM: `Lstm` follows its other cells.
"""

from typing import Any

import torch
from torch import nn

from tests.interop.sizes import SIZES, TYPES, T, V


def tril(*shape: int) -> Any:
    return torch.ones(shape).tril()


class Bigram(nn.Module):
    def __init__(self, V: int, **_: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(V, V))

    def forward(self, ids: Any) -> Any:
        return self.logits[ids]


class Mlp(nn.Module):
    def __init__(self, V: int, T: int, n_embd: int, n_embd2: int, **_: int) -> None:
        super().__init__()
        self.wte = nn.Embedding(V + 1, n_embd)
        self.mlp = nn.Sequential(nn.Linear(T * n_embd, n_embd2), nn.Tanh(), nn.Linear(n_embd2, V))
        self.V, self.T = V, T

    def forward(self, ids: Any) -> Any:
        columns = []
        for _ in range(self.T):
            columns.append(self.wte(ids))
            ids = torch.roll(ids, 1, 1)
            ids[:, 0] = self.V
        return self.mlp(torch.cat(columns, -1))


class Branch(nn.Module):
    """Holds what makemore.py holds in a ModuleDict called mlp."""

    def __init__(self, n_embd: int, n_hidden: int, act: Any) -> None:
        super().__init__()
        self.c_fc = nn.Linear(n_embd, n_hidden)
        self.c_proj = nn.Linear(n_hidden, n_embd)
        self.act = act

    def forward(self, x: Any) -> Any:
        return self.c_proj(self.act(self.c_fc(x)))


class Masked(nn.Module):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.register_buffer("bias", tril(*shape))


class Bow(nn.Module):
    def __init__(self, V: int, T: int, n_embd: int, n_embd2: int, **_: int) -> None:
        super().__init__()
        self.wte = nn.Embedding(V, n_embd)
        self.wpe = nn.Embedding(T, n_embd)
        self.context_block = nn.Module()
        self.context_block.cbow = Masked(1, T, T)
        self.context_block.mlp = Branch(n_embd, n_embd2, torch.tanh)
        self.lm_head = nn.Linear(n_embd, V)

    def forward(self, ids: Any) -> Any:
        n = ids.shape[1]
        x = self.wte(ids) + self.wpe(torch.arange(n))
        seen = self.context_block.cbow.bias[:, :n, :n] == 1
        x = x + torch.zeros(n, n).masked_fill(~seen, -torch.inf).softmax(-1) @ x
        return self.lm_head(x + self.context_block.mlp(x))


class Recurrent(nn.Module):
    gates: tuple[str, ...] = ()
    n_states, width = 1, 1

    def __init__(self, V: int, n_embd: int, n_embd2: int, **_: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(self.n_states, n_embd2))
        self.wte = nn.Embedding(V, n_embd)
        self.cell = nn.Module()
        for gate in self.gates:
            linear = nn.Linear(n_embd + n_embd2, self.width * n_embd2)
            self.cell.add_module(f"xh_to_{gate}", linear)
        self.lm_head = nn.Linear(n_embd2, V)

    def forward(self, ids: Any) -> Any:
        state = [row.expand(len(ids), -1) for row in self.start]
        hidden = []
        for x in self.wte(ids).unbind(1):
            state = self.next(x, *state)
            hidden.append(state[0])
        return self.lm_head(torch.stack(hidden, 1))

    def gate(self, name: str, *parts: Any) -> Any:
        return getattr(self.cell, f"xh_to_{name}")(torch.cat(parts, 1))


class Rnn(Recurrent):
    gates = ("h",)

    def next(self, x: Any, h: Any) -> list[Any]:
        return [self.gate("h", x, h).tanh()]


class Gru(Recurrent):
    gates = ("z", "r", "hbar")

    def next(self, x: Any, h: Any) -> list[Any]:
        r, z = self.gate("r", x, h).sigmoid(), self.gate("z", x, h).sigmoid()
        return [(1 - z) * h + z * self.gate("hbar", x, r * h).tanh()]


class Lstm(Recurrent):
    gates, n_states, width = ("ifgo",), 2, 4

    def next(self, x: Any, h: Any, c: Any) -> list[Any]:
        i, f, g, o = self.gate("ifgo", x, h).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return [o.sigmoid() * c.tanh(), c]


class Attention(Masked):
    def __init__(self, T: int, n_head: int, n_embd: int) -> None:
        super().__init__(1, 1, T, T)
        self.c_attn = nn.Linear(n_embd, 3 * n_embd)
        self.c_proj = nn.Linear(n_embd, n_embd)
        self.n_head = n_head

    def forward(self, x: Any) -> Any:
        n = x.shape[1]
        q, k, v = (
            part.unflatten(2, (self.n_head, -1)).transpose(1, 2)
            for part in self.c_attn(x).chunk(3, 2)
        )
        scores = q @ k.mT / q.shape[-1] ** 0.5
        scores = scores.masked_fill(self.bias[:, :, :n, :n] == 0, -torch.inf)
        return self.c_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, T: int, n_head: int, n_embd: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(n_embd)
        self.attn = Attention(T, n_head, n_embd)
        self.ln_2 = nn.LayerNorm(n_embd)
        self.mlp = Branch(n_embd, 4 * n_embd, nn.GELU("tanh"))

    def forward(self, x: Any) -> Any:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, V: int, T: int, n_layer: int, n_head: int, n_embd: int, **_: int) -> None:
        super().__init__()
        self.transformer = nn.Module()
        self.transformer.wte = nn.Embedding(V, n_embd)
        self.transformer.wpe = nn.Embedding(T, n_embd)
        blocks = [Block(T, n_head, n_embd) for _ in range(n_layer)]
        self.transformer.h = nn.ModuleList(blocks)
        self.transformer.ln_f = nn.LayerNorm(n_embd)
        self.lm_head = nn.Linear(n_embd, V, bias=False)

    def forward(self, ids: Any) -> Any:
        x = self.transformer.wte(ids) + self.transformer.wpe(torch.arange(ids.shape[1]))
        for block in self.transformer.h:
            x = block(x)
        return self.lm_head(self.transformer.ln_f(x))


CLASSES = dict(zip(TYPES, [Bigram, Mlp, Bow, Rnn, Gru, Lstm, Transformer], strict=True))


def make(type: str, V: int = V, T: int = T, **sizes: int) -> Any:
    """A model of makemore.py's with generic weights; none is zero."""
    torch.manual_seed(0)
    module = CLASSES[type](V=V, T=T, **(SIZES | sizes))
    for parameter in module.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape)
    return module
