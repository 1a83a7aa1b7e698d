"""The exercise on attention: what its file and its README say."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from jaxmore.ninja.attention.example_batch import Batch, batch
from jaxmore.ninja.attention.hints import HINTS
from jaxmore.ninja.attention.stepwise import Cotangents, Intermediates, Parameters, forward
from jaxmore.ninja.exercise import Exercise

SETUP = """\
from jaxmore.ninja import attention

C, P, gain, bias, Wq, Wk, Wv, Wo, Wout, X, Y = attention.batch()
B, T = X.shape  # {X}: names, and the first characters of each
V, E = C.shape  # {C}: characters that there are, and numbers for each
N, D = 2, E // 2  # heads, and numbers for each
scale = D**-0.5  # keeps the scores from growing with D
n = B * T  # positions; each predicts the next character, Y
causal = jnp.tril(jnp.ones((T, T), bool))  # position t (row) sees s <= t (columns)
"""

README = """\
# {title}

`my_backward.py` runs the heart of a transformer once: the first five characters of eight names
go through an embedding, layer norm, self-attention with two heads, a skip connection and
cross-entropy, and one number comes out, the loss. Every step has a line of its own. Your task
is the way back.

For each variable, find its **cotangent**: how much the loss moves when one of its elements
moves. The cotangent of `probs` is called `dprobs`, and it has the shape of `probs`. There are
30, and each follows from those above it. Three rules carry all of it:

1. A line `y = f(a, b)` sends `dy` on to `a` and to `b`, each times its own slope. For a matrix
   product `y = a @ b` that is `da = dy @ b.mT` and `db = a.mT @ dy`.
2. What is used on several lines, or shared along an axis, collects the **sum** of what comes
   back.
3. What only moves numbers or picks some (`reshape`, `swapaxes`, `where`) sends each back to where
   it came from.

Here `@` multiplies the last two axes, once for each name (and each head), and `a.mT` transposes
these two alone; `a.T` would reverse all axes. All names share the weights: where the product for a
weight has one axis too many, sum over it.

The blanks come in this order: the logits (`logits` to `Wout`), the projection (`proj` to `Wo`),
attention (`heads` to `kh`), queries, keys and values (`q` to `normed`), layer norm (`gain` to
`lnmean`), the embeddings (`x` to `P`). If this is your first exercise, begin with the lecture's
(`jaxmore exercise DIR`): it leads to `dlogits`, its Exercise 2, in small steps, and layer norm is
its BatchNorm along another axis. New here is a softmax inside a network (`dmasked`): in a row of
probabilities, every score moves every entry.

{checking}

`dmasked` is already zero wherever the mask hides a score, so on the real batch `dmasked` itself
would do for `dscores`. The check puts other numbers for `dmasked` there, so that the line itself
has to be right.

{writing}

A solution with the reason for every line is `jaxmore/ninja/attention/stepwise.py`: look when you
have done it yourself. The network is the transformer of makemore.py with one block, without its
MLP, its last norm, and the biases of its linear layers.
"""


def from_those_above(inputs: Batch, v: Intermediates, d: Mapping[str, Any]) -> dict[str, Any]:
    """Compute dscores from a generic dmasked: the real one is zero where scores are masked."""
    return {"scores": jnp.where(v.masked > -1e30, d["masked"], 0)}


ATTENTION = Exercise(
    title="Backpropagation by hand: attention",
    batch=batch,
    parameters=Parameters,
    forward=forward,
    cotangents=Cotangents._fields,
    setup=SETUP,
    hints=HINTS,
    readme=README,
    by_other_numbers=from_those_above,
    powers={"lnvar": "1e-5"},
)
"""The exercise on layer norm, softmax, heads and the skip connection of a transformer."""
