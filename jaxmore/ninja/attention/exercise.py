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
n = B * T  # places; at each the next character, in Y, is predicted
causal = jnp.tril(jnp.ones((T, T), bool))  # place t (a row) sees the places s <= t (columns)
"""

README = """\
# Backpropagation by hand: attention

`my_backward.py` runs the heart of a transformer once: the first five characters of eight names
go through an embedding, layer norm, self-attention with two heads, a skip connection and
cross-entropy, and one number comes out, the loss. Every step stands on a line of its own. Your
task is the way back.

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
these two alone; `a.T` would turn all axes round. A weight of two axes serves all names: a product
with one axis too many has to be summed.

They come in this order: the logits (`logits` to `Wout`), the projection (`proj` to `Wo`), the
attention (`heads` to `kh`), queries, keys and values (`q` to `normed`), layer norm (`gain` to
`lnmean`), the embeddings (`x` to `P`). What is new after the lecture's exercise (`jaxmore exercise
DIR`) is the softmax in the middle of a network, `masked`: every entry of a row moves every other.
`logits` is that exercise's closed form, and layer norm is BatchNorm along another axis.

{checking}

Where causality has made `dmasked` zero already, `dscores` has nothing left to do; there the check
puts other numbers above your line, so that the line itself has to be right.

{writing}

A solution with the reason for every line is `jaxmore/ninja/attention/stepwise.py`: look when you
have done it yourself. The network is the transformer of makemore.py with one block, without its
MLP, its last norm, and the biases of its linear layers.
"""


def from_those_above(inputs: Batch, v: Intermediates, d: Mapping[str, Any]) -> dict[str, Any]:
    """Compute dscores from a generic dmasked: the real one is zero where scores are masked."""
    return {"scores": jnp.where(v.masked > -1e30, d["masked"], 0)}


ATTENTION = Exercise(
    title="Backpropagation through attention by hand",
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
