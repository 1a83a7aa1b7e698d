"""NumPy without a compiler; rare contexts more often; BatchNorm folded into the weights.

**No compiler.** Half of the preceding record's time was compilation.

**Rare contexts more often than they occur.** A context that occurs n times among N examples has the
exact distribution q of its next character as its target, and to draw it twice in one batch is of no
use. So a batch draws it π = min(1, λ n^¾) times on average, where λ makes these numbers add up to
the size of the batch, and weights it with n/(π N), scaled so that the weights of a batch sum to 1.
The expected gradient is close to that of all examples, with less noise. docs/speedrun.md lists the
powers that were tried.

**Larger batches first.** While the learning rate is high, the noise of small batches costs more
than it does at the end.

**BatchNorm without a pass over the hidden layer.** The mean and the variance of a linear layer's
outputs follow from those of its 30 inputs. With weights w that sum to 1 and the rows of E the
embeddings of the contexts::

    Ec = E − 1 wᵀE        S = Ecᵀ diag(w) Ec        var = column sums of W1 · (S W1)
    r = (var + eps)^(−½)  s = gain · r              h = tanh(Ec (W1 s) + bias)

(the bias b1 cancels, and its gradient is zero). Derivation, with G the cotangent of tanh's input::

    d(W1 s) = M = Ecᵀ G                                 dbias = column sums of G
    ds = column sums of M · W1                          dgain = r · ds
    dvar = gain · ds · dr/dvar = −½ gain r³ ds

var is a quadratic form in each column of W1, and S is symmetric::

    dW1 = s · M + 2 dvar · (S W1)                       dS = W1 diag(dvar) W1ᵀ

Ec enters the product and S, and dS is symmetric as well. Centring is the projection I − 1wᵀ, whose
transpose is I − w1ᵀ::

    dEc = G (W1 s)ᵀ + 2 diag(w) Ec dS                   dE = dEc − w · column sums of dEc

All of this has 30 rows or 30 columns. Only the product, tanh and its derivative touch the 200
columns of each example.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from benchmarks.records.contexts import Contexts, distinct_contexts
from benchmarks.records.network import E, H, Network, T, calibrated, random_parameters
from jaxmore.data import Vocabulary

TRACK, BASELINE = "speed", "speed_nadam"
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"}  # such small products gain nothing from two threads
SIZES = [256] * 350 + [128] * 500
"""The contexts of each step."""
LEARNING_RATE, B1, B2, POWER = 0.025, 0.9, 0.99, 0.75
EPS = np.float32(1e-5)


class Parameters(NamedTuple):
    """Views into one flat vector; the optimiser sees the vector alone."""

    C: Float[np.ndarray, "V E"]
    W1: Float[np.ndarray, "TE H"]
    gain: Float[np.ndarray, " H"]
    bias: Float[np.ndarray, " H"]
    head: Float[np.ndarray, "H+1 V"]
    """W2, and b2 as its last row."""


def parameters(vocab_size: int) -> tuple[Float[np.ndarray, " P"], Parameters]:
    """Make a vector of zeros and the views into it."""
    shapes = (vocab_size, E), (T * E, H), (H,), (H,), (H + 1, vocab_size)
    ends = np.cumsum([np.prod(shape) for shape in shapes])
    flat = np.zeros(ends[-1], np.float32)
    parts = np.split(flat, ends[:-1])
    return flat, Parameters(*(p.reshape(s) for p, s in zip(parts, shapes, strict=True)))


def draw(
    data: Contexts, size: int, steps: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, "S B"], Float[np.ndarray, "S B"]]:
    """Draw the contexts of every step and their weights: one from each of B parts of Σ π."""
    raised = data.counts**POWER
    scale = size / raised.sum()
    for _ in range(20):  # λ: those that are always drawn leave more for the others
        chances = np.minimum(1, scale * raised)
        scale *= (size - (chances == 1).sum()) / chances[chances < 1].sum()
    ends = np.cumsum(chances)
    places = (np.arange(size) + rng.random((steps, size))) / size * ends[-1]
    contexts = np.searchsorted(ends, places)
    weights = (data.counts / chances)[contexts]
    return contexts, (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def gradient(
    params: Parameters,
    grads: Parameters,
    x: Int[np.ndarray, "B T"],
    picks: Float[np.ndarray, "BT V"],
    q: Float[np.ndarray, "B V"],
    w: Float[np.ndarray, " B"],
    h: Float[np.ndarray, "B H+1"],
    dh: Float[np.ndarray, "B H"],
) -> None:
    """Write the gradient of Σ w · cross-entropy(q, softmax(logits)) into ``grads``.

    Args:
        params: the parameters.
        grads: the gradient.
        x: the contexts.
        picks: their one-hot rows.
        q: how often each id follows each context.
        w: the weights of the contexts; they sum to 1.
        h: room for the hidden layer; its last column is 1.
        dh: room for its cotangent.
    """
    C, W1, gain, bias, head = params
    emb = C.take(x.ravel(), axis=0).reshape(len(x), -1)
    centred = np.empty((len(x), T * E + 1), np.float32)
    centred[:, -1] = 1
    np.subtract(emb, w @ emb, out=centred[:, :-1])
    weighted = w[:, None] * centred[:, :-1]
    covariance = centred[:, :-1].T @ weighted
    projected = covariance @ W1
    r = 1 / np.sqrt((W1 * projected).sum(0) + EPS)
    scale = gain * r
    folded = np.concatenate((W1 * scale, bias[None]))
    np.tanh(centred @ folded, out=h[:, :-1])
    z = h @ head
    np.exp(z, out=z)  # no logit comes near 88, where float32 overflows
    z *= (w / z.sum(1))[:, None]
    z -= q * w[:, None]
    np.matmul(h.T, z, out=grads.head)
    np.matmul(z, head[:-1].T, out=dh)
    derivative = h[:, :-1] * h[:, :-1]
    np.subtract(1, derivative, out=derivative)
    dh *= derivative
    M = centred.T @ dh
    grads.bias[:] = M[-1]
    dscale = (M[:-1] * W1).sum(0)
    np.multiply(r, dscale, out=grads.gain)
    dvar2 = -scale * r * r * dscale  # 2 dvar
    np.multiply(scale, M[:-1], out=grads.W1)
    projected *= dvar2
    np.add(grads.W1, projected, out=grads.W1)
    demb = dh @ np.ascontiguousarray(folded[:-1].T)
    demb += weighted @ ((W1 * dvar2) @ W1.T)
    demb -= w[:, None] * demb.sum(0)
    np.matmul(picks.T, demb.reshape(-1, E), out=grads.C)


def train(words: Sequence[str], vocab: Vocabulary, seed: int) -> Network:
    """Nadam with a cosine schedule to zero."""
    data = distinct_contexts(words, vocab, T)
    rng = np.random.default_rng(seed)
    flat, params = parameters(vocab.size)
    dflat, grads = parameters(vocab.size)
    tree = random_parameters(vocab.size, seed)
    # Each part of the tree becomes a view into the flat vector.
    views = {
        "embedding": {"weight": params.C},
        "hidden": {"weight": params.W1},
        "norm": {"gain": params.gain, "bias": params.bias},
        "head": {"weight": params.head[:-1], "bias": params.head[-1]},
    }
    for layer, its in views.items():
        for name, view in its.items():
            view[:] = tree[layer][name]
            tree[layer][name] = view
    one_hot = np.eye(vocab.size, dtype=np.float32)[data.ids]
    m, v, update = np.zeros_like(flat), np.zeros_like(flat), np.zeros_like(flat)
    step = 0
    for size in dict.fromkeys(SIZES):
        h, dh = np.ones((size, H + 1), np.float32), np.empty((size, H), np.float32)
        batches = draw(data, size, SIZES.count(size), rng)
        for contexts, w in zip(*batches, strict=True):
            picks = one_hot.take(contexts, axis=0).reshape(-1, vocab.size)
            x, q = data.ids[contexts], data.next.take(contexts, axis=0)
            gradient(params, grads, x, picks, q, w, h, dh)
            # Nadam on the sums m = Σ B1^(t−i) g_i and v = Σ B2^(t−i) g_i². The factors that make
            # means of them are gathered in two scalars.
            m *= np.float32(B1)
            m += dflat
            v *= np.float32(B2)
            np.multiply(dflat, dflat, out=update)
            v += update
            rate = LEARNING_RATE * (1 + np.cos(np.pi * step / len(SIZES))) / 2
            step += 1
            root = np.sqrt((1 - B2) / (1 - B2**step))
            np.multiply(m, np.float32(B1 * (1 - B1) / (1 - B1 ** (step + 1))), out=update)
            dflat *= np.float32((1 - B1) / (1 - B1**step))
            update += dflat
            np.sqrt(v, out=dflat)
            dflat += np.float32(1e-8 / root)
            update /= dflat
            update *= np.float32(rate / root)
            flat -= update
    return calibrated(vocab, tree, data)
