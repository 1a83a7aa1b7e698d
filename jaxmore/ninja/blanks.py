"""The notebooks' exercise: forward lines, blanks in small steps and in closed form, the README."""

from collections.abc import Mapping
from typing import Any

import jax

from jaxmore.ninja import stepwise
from jaxmore.ninja.bank import network_bank
from jaxmore.ninja.example_batch import Batch, batch
from jaxmore.ninja.exercise import Exercise, Line, parse_lines
from jaxmore.ninja.hints import HINTS

FORWARD = """\
emb = C[X]  # the characters of each context as vectors
embcat = emb.reshape(n, -1)  # side by side
# Linear layer 1
hprebn = embcat @ W1 + b1
# BatchNorm
bnmeani = 1 / n * hprebn.sum(0, keepdims=True)
bndiff = hprebn - bnmeani
bndiff2 = bndiff**2
bnvar = 1 / (n - 1) * bndiff2.sum(0, keepdims=True)  # n - 1: the unbiased variance
bnvar_inv = (bnvar + 1e-5) ** -0.5
bnraw = bndiff * bnvar_inv
hpreact = bngain * bnraw + bnbias
# Non-linearity
h = jnp.tanh(hpreact)
# Linear layer 2
logits = h @ W2 + b2
# Cross-entropy
logit_maxes = logits.max(1, keepdims=True)
norm_logits = logits - logit_maxes  # so that exp cannot overflow
counts = jnp.exp(norm_logits)
counts_sum = counts.sum(1, keepdims=True)
counts_sum_inv = counts_sum**-1
probs = counts * counts_sum_inv
logprobs = jnp.log(probs)
loss = -logprobs[jnp.arange(n), Y].mean()
"""

LINES = parse_lines(FORWARD)

CLOSED_FORMS = {
    "logits_fast": Line("loss", "", frozenset({"logits", "Y"})),
    "hprebn_fast": Line("hpreact", "", frozenset({"hprebn", "bngain", "bnraw", "bnvar_inv"})),
}
"""Exercises 2 and 3: each treats several lines of the forward pass as one."""

NAMES = (*stepwise.Cotangents._fields, *CLOSED_FORMS)
"""The variables that have a blank: 26 in the order of the backward pass, and two closed forms."""

SETUP = """\
from jaxmore.ninja import batch

C, W1, b1, W2, b2, bngain, bnbias, X, Y = batch()
n = X.shape[0]  # {n} examples; X {X}, Y {Y}
"""

EXERCISES_2_AND_3 = """
# Exercise 2. dlogits again, from logits and Y alone, in one line: derive the loss as a whole. ----

dlogits_fast = None  # {logits}

# Exercise 3. dhprebn again, from dhpreact, bngain, bnraw and bnvar_inv alone, in one line. -------

dhprebn_fast = None  # {hprebn}
"""

README = """\
# {title}

`my_backward.py` runs a small network once: 32 contexts of three characters go through an
embedding, a linear layer, BatchNorm, tanh, another linear layer and cross-entropy, and one
number comes out, the loss. Every step stands on a line of its own. Your task is the way back.

For each variable, find its **cotangent**: how much the loss moves when one of its elements
moves. The cotangent of `probs` is called `dprobs`, and it has the shape of `probs`. There are
26, and each follows from those above it. Two rules carry all of it:

1. A line `y = f(a, b)` sends `dy` on to `a` and to `b`, each times its own slope (for a matrix
   product: times the other matrix, transposed).
2. What is used on two lines, or copied along an axis, collects the **sum** of what comes back.

{checking}

Where a cotangent comes out as zero whatever you write (`dlogit_maxes`, `db1`) or adds such a
zero (`dlogits`), the check puts other numbers above your line, so that the line itself has to be
right. The same goes for Exercises 2 and 3, the closed forms at the end of the file.

{writing}

The exercise is Andrej Karpathy's, from "Becoming a backprop ninja" (zero-to-hero, lecture 5). A
solution with the reason for every line is `jaxmore/ninja/stepwise.py`: look when you have done it
yourself.
"""


def from_those_above(
    inputs: Batch, v: stepwise.Intermediates, d: Mapping[str, Any]
) -> dict[str, Any]:
    """Compute what some lines make of generic cotangents above them.

    With the real ones dlogit_maxes and db1 are zero whatever is written, dlogits adds such a zero,
    and a closed form could be copied from above.
    """
    is_max = jax.nn.one_hot(v.logits.argmax(1), v.logits.shape[1])
    return {
        "logit_maxes": -d["norm_logits"].sum(1, keepdims=True),
        "logits": d["norm_logits"] + is_max * d["logit_maxes"],
        "b1": d["hprebn"].sum(0),
        "logits_fast": stepwise.dlogits_closed(v.logits, inputs.Y),
        "hprebn_fast": stepwise.dhprebn_closed(inputs.bngain, v.bnraw, v.bnvar_inv, d["hpreact"]),
    }


BACKPROP = Exercise(
    title="Backpropagation by hand",
    batch=batch,
    parameters=stepwise.Parameters,
    forward=stepwise.forward,
    cotangents=stepwise.Cotangents._fields,
    setup=SETUP,
    hints=HINTS,
    readme=README,
    text=FORWARD,
    closed_forms=CLOSED_FORMS,
    closed_form_blanks=EXERCISES_2_AND_3,
    by_other_numbers=from_those_above,
    zero_by_identity=frozenset({"logit_maxes", "b1"}),
    powers={"bnvar": "1e-5"},
    bank=network_bank,
)
"""The exercise of the lecture "Becoming a backprop ninja"."""
