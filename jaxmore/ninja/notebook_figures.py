"""The figures that the five notebooks print, computed again with JAX alone.

The notebooks draw from PyTorch's CPU generator; `TorchGenerator` gives the same numbers without
PyTorch. Where a notebook passes no generator, the stream started from a number that it doesn't
show. MT19937 takes 32 bits of it, so where enough of the values drawn are printed, trying all
2**32 seeds finds the one: notebook 002 prints eight of them, notebook 003 (through hpreact) six of
bngain and six of bnbias. One loss alone, as in notebook 000, fits millions of seeds.
"""

import hashlib
from collections.abc import Iterable, Sequence
from textwrap import fill
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Int

from jaxmore import rules
from jaxmore.backprop import loss_and_grad
from jaxmore.data import (
    NAMES_SHA256,
    IntArray,
    TorchGenerator,
    Vocabulary,
    context_windows,
    split_words,
)
from jaxmore.errors import InputError
from jaxmore.layers import Tree, count_parameters
from jaxmore.models import bengio, mlp_bn
from jaxmore.ninja import stepwise
from jaxmore.training.evaluation import mean_loss

SEED = 2147483647
UNSEEDED_002 = 3837303080  # gives C[1], C[5], C[6] and C[7] as printed
UNSEEDED_003 = 3554456556  # gives the six columns of hpreact as printed

TARGETS = "8 14 15 22 0 19 … 3 5 9 0 18"


class Figure(NamedTuple):
    """One figure: as its notebook printed it, and as we get it in the same format.

    `ours` is empty where the figure can't be had again; `why` then says the reason. Elsewhere it
    explains a difference, if there is one.
    """

    notebook: str
    name: str
    printed: str
    ours: str
    why: str = ""


class Batch(NamedTuple):
    """A notebook's network and the minibatch that it goes through."""

    params: stepwise.Parameters
    X: Int[Array, "B T"]
    Y: Int[Array, " B"]


def notebook_003(words: Sequence[str]) -> Batch:
    """The network of notebook 003 (4,137 parameters) and its minibatch.

    Notebook 000 has the same but for bngain and bnbias, which both notebooks draw unseeded.

    Args:
        words: the notebooks' names; of other words the same network, with their vocabulary.

    Returns:
        Parameters float32, with E = 10 and H = 64; X (32, 3) and Y (32,) from the training split.

    Raises:
        InputError: too few words to split.
    """
    X, Y, n_vocab = _training_windows(words)
    g, unseeded = TorchGenerator(SEED), TorchGenerator(UNSEEDED_003)
    params = stepwise.Parameters(
        C=jnp.array(g.randn(n_vocab, 10)),
        W1=jnp.array(g.randn(30, 64) * (5 / 3) / 30**0.5),
        b1=jnp.array(g.randn(64) * 0.1),
        W2=jnp.array(g.randn(64, n_vocab) * 0.1),
        b2=jnp.array(g.randn(n_vocab) * 0.1),
        bngain=jnp.array(unseeded.randn(1, 64) * 0.1 + 1.0),
        bnbias=jnp.array(unseeded.randn(1, 64) * 0.1),
    )
    ix = g.randint(0, len(X), (32,))
    return Batch(params, jnp.array(X[ix]), jnp.array(Y[ix]))


def notebook_004(words: Sequence[str]) -> Batch:
    """The network of notebook 004 (12,097 parameters, no b1) and its minibatch, all of it seeded.

    Args:
        words: as for `notebook_003`.

    Returns:
        Parameters float32, with E = 10 and H = 200; X (32, 3) and Y (32,).

    Raises:
        InputError: too few words to split.
    """
    X, Y, n_vocab = _training_windows(words)
    g = TorchGenerator(SEED)
    params = stepwise.Parameters(
        C=jnp.array(g.randn(n_vocab, 10)),
        W1=jnp.array(g.randn(30, 200) * (5 / 3) / 30**0.5),
        b1=None,
        W2=jnp.array(g.randn(200, n_vocab) * 0.1),
        b2=jnp.array(g.randn(n_vocab) * 0.1),
        bngain=jnp.array(g.randn(1, 200) * 0.1 + 1.0),
        bnbias=jnp.array(g.randn(1, 200) * 0.1),
    )
    ix = g.randint(0, len(X), (32,))
    return Batch(params, jnp.array(X[ix]), jnp.array(Y[ix]))


def _training_windows(words: Sequence[str]) -> tuple[IntArray, IntArray, int]:
    vocab = Vocabulary.from_words(words)
    return *context_windows(split_words(words).train, vocab, 3), vocab.size


def replay(words: Sequence[str]) -> list[Figure]:
    """Every figure of the notebooks, beside our own.

    Args:
        words: the notebooks' 32,033 names, in the order of their file.

    Returns:
        The figures in the order of the notebooks.

    Raises:
        InputError: other words. Each figure depends on them.
    """
    if hashlib.sha256("\n".join(words).encode()).hexdigest() != NAMES_SHA256:
        raise InputError(
            f"the notebooks' figures need the notebooks' 32,033 names (jaxmore data --download), "
            f"not these {len(words):,} words"
        )
    batch = notebook_003(words)
    values = stepwise.forward(*batch)
    return [
        *_figures_000(words, batch, values),
        *_figures_001(words, batch.params),
        *_figures_002(words),
        *_figures_003(batch, values),
        *_figures_004(words),
    ]


def _figures_000(
    words: Sequence[str], batch: Batch, values: stepwise.Intermediates
) -> list[Figure]:
    vocab = Vocabulary.from_words(words)
    windows = [len(context_windows(split, vocab, 3)[1]) for split in split_words(words)]
    plain = batch.params._replace(
        bngain=jnp.ones_like(batch.params.bngain), bnbias=jnp.zeros_like(batch.params.bnbias)
    )
    loss = stepwise.forward(plain, batch.X, batch.Y).loss
    swapped = values.counts_sum_inv * values.counts
    return [
        _figure("000", "words, longest, vocabulary", "32,033 15 27",
                [len(words), max(map(len, words)), vocab.size]),
        _figure("000", "windows: train, dev, test", "182,625 22,655 22,866", windows),
        _figure("000", "parameters", "4,137", count_parameters(mlp_bn(27, n_embd2=64))),
        _figure("000", "Yb", TARGETS, batch.Y),
        _figure("000", "counts * counts_sum_inv commutes", "True",
                (values.counts * values.counts_sum_inv == swapped).all()),
        Figure("000", "loss", "3.3275", "",
               "bngain and bnbias come from an unseeded stream, and one loss doesn't tell which. "
               f"With bngain = 1 and bnbias = 0 it is {loss:.4f}."),
    ]  # fmt: skip


def _figures_001(words: Sequence[str], params: stepwise.Parameters) -> list[Figure]:
    batch = context_windows(split_words(words).train[:32], Vocabulary.from_words(words), 3)
    X, Y = map(jnp.array, batch)
    values = stepwise.forward(params, X, Y)
    d = stepwise.backward(params, X, Y, values)
    dlogits = [
        jax.jit(form)(values.logits, Y)
        for form in (stepwise.dlogits_outer, stepwise.dlogits_closed)
    ]
    norm = params.bngain, values.bnraw, values.bnvar_inv, d.hpreact
    dhprebn = [jax.jit(form)(*norm) for form in (stepwise.dhprebn_outer, stepwise.dhprebn_closed)]
    library = "The order of its library's draws and how it splits the words aren't shown."
    ours = "Ours against the long way, on 32 words as there, but with notebook 003's parameters."
    return [
        _figure("001", "parameters", "4,137", count_parameters(mlp_bn(27, n_embd2=64))),
        Figure("001", "loss of Exercise 1", "3.2965", "", library),
        _figure("001", "maxdiff of dlogits, two forms", "1.2e-09 1.2e-09",
                [jnp.abs(form - d.logits).max() for form in dlogits], ours),
        _figure("001", "maxdiff of dhprebn, two forms", "1.1e-11 1.1e-11",
                [jnp.abs(form - d.hprebn).max() for form in dhprebn],
                f"{ours} dhprebn grows with W2, and notebook 001's is smaller: its loss is all but "
                "log 27."),
        _figure("001", "parameters of Exercise 4", "12,297", count_parameters(mlp_bn(27))),
        Figure("001", "train, val after 10,000 steps", "2.2499 2.2670", "",
               f"{library} It isn't rounding: such a run ends within 1e-6 of its like in float64."),
        Figure("001", "20 names", "mora. … calynnsun.", "",
               "They need those weights, and torch.multinomial."),
    ]  # fmt: skip


def _figures_002(words: Sequence[str]) -> list[Figure]:
    vocab = Vocabulary.from_words(words)
    X, Y = context_windows(words, vocab, 3)
    model = bengio(vocab.size)

    # One stream runs through the notebook. Between the values that count come cells run again,
    # and 2,950 minibatches of earlier training.
    unseeded = TorchGenerator(UNSEEDED_002)
    unseeded.random(70)
    C = unseeded.randn(27, 2)
    unseeded.random(732)
    W1, b1 = unseeded.randn(6, 100), unseeded.randn(100)
    unseeded.random(16425)
    W2, b2 = unseeded.randn(100, 27), unseeded.randn(27)
    unseeded.random(94400)

    first = context_windows(words[:5], vocab, 3)
    emb = jnp.array(C)[first[0]]
    one_hot = jax.nn.one_hot(jnp.array(first[0]), 27)
    concatenated = jnp.concatenate([emb[:, 0], emb[:, 1], emb[:, 2]], 1)
    step = jax.jit(loss_and_grad, static_argnums=0)
    first_loss, _ = step(model, _bengio_params(C, W1, b1, W2, b2), *map(jnp.array, first))

    g = TorchGenerator(SEED)
    params = _bengio_params(
        g.randn(27, 2), g.randn(6, 100), g.randn(100), g.randn(100, 27), g.randn(27)
    )
    loss = jnp.nan
    for _ in range(10):
        ix = unseeded.randint(0, len(X), (32,))
        loss, grads = step(model, params, jnp.array(X[ix]), jnp.array(Y[ix]))
        params = jax.tree.map(lambda p, dp: p - 0.1 * dp, params, grads)
    stats: Tree = {name: {} for name, _ in model.layers}

    overflowing = jnp.array([[-50.0, 2.0, 3.0, 100.0]])
    probs = [
        jnp.exp(-rules.softmax_cross_entropy(overflowing, jnp.array([target])))
        for target in range(4)
    ]
    return [
        _figure("002", "windows of five words, of all", "32 228,146", [len(first[1]), len(Y)]),
        _figure("002", "C[5]", "-0.8650 1.1346", C[5],
                f"Drawn unseeded. Of 2**32 seeds {UNSEEDED_002} alone gives C as printed."),
        _figure("002", "one_hot @ C == C[X]", "True", (one_hot @ C == emb).all()),
        _figure("002", "concatenated == reshaped", "True",
                (concatenated == emb.reshape(-1, 6)).all()),
        _figure("002", "loss of five words", "18.6535", first_loss),
        _figure("002", "parameters", "3,481", count_parameters(model)),
        Figure("002", "softmax of [-50, 2, 3, 100]", "0. 0. 0. nan",
               " ".join(f"{p:.0f}." for p in probs),
               "exp(100) is inf in float32; here the maximum is subtracted first."),
        _figure("002", "loss of the 10th minibatch", "7.8733", loss),
        _figure("002", "loss of all windows then", "11.0778",
                mean_loss(model, params, stats, X, Y)),
        Figure("002", "loss in the rate sweep", "2.6687", "",
               "The cell that printed it was changed afterwards: as it stands it prints nothing."),
    ]  # fmt: skip


def _bengio_params(*arrays: npt.NDArray[np.float32]) -> Tree:
    C, W1, b1, W2, b2 = map(jnp.array, arrays)
    return {
        "embedding": {"weight": C},
        "flatten": {},
        "hidden": {"weight": W1, "bias": b1},
        "act": {},
        "head": {"weight": W2, "bias": b2},
    }


def _figures_003(batch: Batch, values: stepwise.Intermediates) -> list[Figure]:
    return [
        _figure("003", "parameters", "4,137", count_parameters(mlp_bn(27, n_embd2=64))),
        _figure("003", "Yb", TARGETS, batch.Y),
        *(
            _figure("003", name, printed, getattr(values, name))
            for name, printed in (
                ("emb", "-4.7125e-01 7.8682e-01 …"),
                ("hprebn", "-1.2944e+00 -1.6063e+00 …"),
                ("bnmeani", "-0.2923 -0.0526 -0.6841 … 0.1881 0.7816"),
                ("bndiff", "-1.0021 -1.5537 1.2665 … -2.6954 -0.7357"),
                ("bndiff2", "1.0042e+00 2.4139e+00 … 5.4118e-01"),
                ("bnvar", "2.9677 1.2682 2.1554 … 2.2397 1.8453"),
                ("bnvar_inv", "0.5805 0.8880 0.6811 … 0.6682 0.7361"),
                ("bnraw", "-0.5817 -1.3797 0.8627 … -1.8011 -0.5415"),
                ("hpreact", "-0.6044 -1.4444 0.8227 … -1.7588 -0.6646"),
                ("h", "-0.5402 -0.8946 0.6766 … -0.9424 -0.5814"),
                ("logits", "7.7128e-01 …"),
                ("logit_maxes", "0.9708 0.8140 1.2211 … 1.1258 0.8638"),
                ("counts_sum", "11.8491 11.1105 8.7165 …"),
            )
        ),
        _figure("003", "loss", "3.3277", values.loss,
                "bngain and bnbias are drawn unseeded. "
                f"Of 2**32 seeds {UNSEEDED_003} alone gives hpreact as printed."),
    ]  # fmt: skip


def _figures_004(words: Sequence[str]) -> list[Figure]:
    model = mlp_bn(27, hidden_bias=False)
    return [
        _figure("004", "parameters", "12,097", count_parameters(model)),
        _figure("004", "loss", "3.5586", stepwise.forward(*notebook_004(words)).loss),
    ]


def _figure(notebook: str, name: str, printed: str, values: npt.ArrayLike, why: str = "") -> Figure:
    """A figure whose values are put in the format of what was printed.

    A value for each value there: all of them, or the first and the last ones around an ellipsis.
    """
    flat = np.ravel(values)
    head, *tail = (part.split() for part in printed.split("…"))
    ours = [_like(token, value) for token, value in zip(head, flat, strict=not tail)]
    if tail:
        ours += ["…", *map(_like, tail[0], flat[len(flat) - len(tail[0]) :])]
    return Figure(notebook, name, printed, " ".join(ours), why)


def _like(token: str, value: float) -> str:
    if token == "True":
        return str(bool(value))
    if "." not in token:
        return f"{int(value):,}"
    mantissa, exponent, _ = token.partition("e")
    return f"{value:.{len(mantissa.partition('.')[2])}{'e' if exponent else 'f'}}"


def format_figures(figures: Iterable[Figure]) -> str:
    """A line for each figure: as printed, as we get it, and below it the reason, if there is one.

    >>> print(format_figures([Figure("004", "loss", "3.5586", "3.5586")]))
      notebook figure                           as printed                        as we get it
    = 004      loss                             3.5586                            3.5586
    """
    line = "{:1} {:8} {:32} {:41} {}"
    lines = [line.format("", "notebook", "figure", "as printed", "as we get it")]
    for notebook, name, printed, ours, why in figures:
        mark = "=" if ours == printed else "≠" if ours else "?"
        lines.append(line.format(mark, notebook, name, printed, ours or "—"))
        if why:
            lines.append(fill(why, 100, initial_indent=" " * 11, subsequent_indent=" " * 11))
    return "\n".join(lines)
