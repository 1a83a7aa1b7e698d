"""The figures that the five notebooks print, computed again with JAX alone."""

import hashlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from jaxmore import rules
from jaxmore.backprop import loss_and_grad
from jaxmore.data import NAMES_SHA256, TorchGenerator, Vocabulary, context_windows, split_words
from jaxmore.errors import InputError
from jaxmore.layers import Tree, count_parameters
from jaxmore.models import bengio, mlp_bn
from jaxmore.ninja import stepwise
from jaxmore.ninja.figures import Figure, as_printed
from jaxmore.ninja.notebooks import (
    SEED,
    UNSEEDED_002,
    UNSEEDED_003,
    NetworkInputs,
    notebook_003,
    notebook_004,
)
from jaxmore.training.evaluation import mean_loss

TARGETS = "8 14 15 22 0 19 … 3 5 9 0 18"


def replay(words: Sequence[str]) -> list[Figure]:
    """Compute every figure of the notebooks again.

    Args:
        words: the notebooks' 32,033 names, in the order of their file.

    Returns:
        The figures in the order of the notebooks.

    Raises:
        InputError: the words are others; every figure depends on them.
    """
    if hashlib.sha256("\n".join(words).encode()).hexdigest() != NAMES_SHA256:
        raise InputError(
            f"the notebooks' figures need the notebooks' 32,033 names (jaxmore data --download), "
            f"not these {len(words):,} words"
        )
    inputs = notebook_003(words)
    values = stepwise.forward(*inputs)
    return [
        *_figures_000(words, inputs, values),
        *_figures_001(words, inputs.params),
        *_figures_002(words),
        *_figures_003(inputs, values),
        *_figures_004(words),
    ]


def _figures_000(
    words: Sequence[str], inputs: NetworkInputs, values: stepwise.Intermediates
) -> list[Figure]:
    vocab = Vocabulary.from_words(words)
    windows = [len(context_windows(split, vocab, 3)[1]) for split in split_words(words)]
    plain = inputs.params._replace(
        bngain=jnp.ones_like(inputs.params.bngain), bnbias=jnp.zeros_like(inputs.params.bnbias)
    )
    loss = stepwise.forward(plain, inputs.X, inputs.Y).loss
    swapped = values.counts_sum_inv * values.counts
    return [
        as_printed("000", "words, longest, vocabulary", "32,033 15 27",
                [len(words), max(map(len, words)), vocab.size]),
        as_printed("000", "windows: train, dev, test", "182,625 22,655 22,866", windows),
        as_printed("000", "parameters", "4,137", count_parameters(mlp_bn(27, n_embd2=64))),
        as_printed("000", "Yb", TARGETS, inputs.Y),
        as_printed("000", "counts * counts_sum_inv commutes", "True",
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
        as_printed("001", "parameters", "4,137", count_parameters(mlp_bn(27, n_embd2=64))),
        Figure("001", "loss of Exercise 1", "3.2965", "", library),
        as_printed("001", "maxdiff of dlogits, two forms", "1.2e-09 1.2e-09",
                [jnp.abs(form - d.logits).max() for form in dlogits], ours),
        as_printed("001", "maxdiff of dhprebn, two forms", "1.1e-11 1.1e-11",
                [jnp.abs(form - d.hprebn).max() for form in dhprebn],
                f"{ours} dhprebn grows with W2, and notebook 001's is smaller: its loss is all but "
                "log 27."),
        as_printed("001", "parameters of Exercise 4", "12,297", count_parameters(mlp_bn(27))),
        Figure("001", "train, val after 10,000 steps", "2.2499 2.2670", "",
               f"{library} It isn't rounding: such a run ends within 1e-6 of its like in float64."),
        Figure("001", "20 names", "mora. … calynnsun.", "",
               "They need those weights, and torch.multinomial."),
    ]  # fmt: skip


def _figures_002(words: Sequence[str]) -> list[Figure]:
    vocab = Vocabulary.from_words(words)
    X, Y = context_windows(words, vocab, 3)
    model = bengio(vocab.size)

    # One stream runs through the notebook. Between the values used here it also fed cells that were
    # run twice, and 2,950 minibatches of earlier training.
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
        as_printed("002", "windows of five words, of all", "32 228,146", [len(first[1]), len(Y)]),
        as_printed("002", "C[5]", "-0.8650 1.1346", C[5],
                f"Drawn unseeded. Of 2**32 seeds {UNSEEDED_002} alone gives C as printed."),
        as_printed("002", "one_hot @ C == C[X]", "True", (one_hot @ C == emb).all()),
        as_printed("002", "concatenated == reshaped", "True",
                (concatenated == emb.reshape(-1, 6)).all()),
        as_printed("002", "loss of five words", "18.6535", first_loss),
        as_printed("002", "parameters", "3,481", count_parameters(model)),
        Figure("002", "softmax of [-50, 2, 3, 100]", "0. 0. 0. nan",
               " ".join(f"{p:.0f}." for p in probs),
               "exp(100) is inf in float32; here the maximum is subtracted first."),
        as_printed("002", "loss of the 10th minibatch", "7.8733", loss),
        as_printed("002", "loss of all windows then", "11.0778",
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


def _figures_003(inputs: NetworkInputs, values: stepwise.Intermediates) -> list[Figure]:
    return [
        as_printed("003", "parameters", "4,137", count_parameters(mlp_bn(27, n_embd2=64))),
        as_printed("003", "Yb", TARGETS, inputs.Y),
        *(
            as_printed("003", name, printed, getattr(values, name))
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
        as_printed("003", "loss", "3.3277", values.loss,
                "bngain and bnbias are drawn unseeded. "
                f"Of 2**32 seeds {UNSEEDED_003} alone gives hpreact as printed."),
    ]  # fmt: skip


def _figures_004(words: Sequence[str]) -> list[Figure]:
    model = mlp_bn(27, hidden_bias=False)
    return [
        as_printed("004", "parameters", "12,097", count_parameters(model)),
        as_printed("004", "loss", "3.5586", stepwise.forward(*notebook_004(words)).loss),
    ]
