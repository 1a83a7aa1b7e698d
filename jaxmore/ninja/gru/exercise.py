"""The exercise on the GRU: what its file and its README say."""

from jaxmore.ninja.exercise import Exercise
from jaxmore.ninja.gru.example_batch import batch
from jaxmore.ninja.gru.hints import HINTS
from jaxmore.ninja.gru.stepwise import Cotangents, Parameters, forward

SETUP = """\
from jaxmore.ninja import gru

C, start, Wz, bz, Wr, br, Wh, bh, Wout, bout, X, Y = gru.batch()
B, T = X.shape  # {X}: names, and the first characters of each
V, E = C.shape  # {C}: characters that there are, and numbers for each
H = len(start)  # {start}: numbers of a state
n = B * T  # positions; each predicts the next character, Y
"""

README = """\
# {title}

`my_backward.py` runs a recurrent network once: the first three characters of 32 names go through
an embedding and, one after the other, through a gated recurrent unit. From a character and the
previous state it computes the next state: `h1` from `h0`, and so on. The states predict the next
characters, and one number comes out, the loss. Every step has a line of its own, and the
three time steps are written out one below the other. Your task is the way back.

For each variable, find its **cotangent**: how much the loss moves when one of its elements
moves. The cotangent of `h2` is called `dh2`, and it has the shape of `h2`. There are 41, and each
follows from those above it. Three rules carry all of it:

1. A line `y = f(a, b)` sends `dy` on to `a` and to `b`, each times its own slope. For a matrix
   product `y = a @ b` that is `da = dy @ b.mT` and `db = a.mT @ dy`.
2. What is used on several lines, or shared along an axis, collects the **sum** of what comes
   back. Through time this means: a state is used by the logits and by the next step, a weight by
   every step.
3. What only puts numbers side by side (`concatenate`, `stack`) is cut apart again: of
   `xh1 = concatenate([emb[:, 0], h0], 1)` the first `E` columns, `[:, :E]`, are the character's,
   the rest, `[:, E:]`, the state's.

In `hs @ Wout`, `@` multiplies the last two axes, once for each name, and `hs.mT` transposes these
two alone. All names share `Wout`: where the product for it has one axis too many, sum over it.

The blanks come in this order: the logits (`logits` to `bout`), step 3 (`h3` to `xh3`), step 2,
step 1, then what the steps share (`h0` to `C`). If this is your first exercise, begin with the
lecture's (`jaxmore exercise DIR`): it leads to `dlogits`, its Exercise 2, in small steps. New here
is time. Step 3 is the backward pass of the cell. Steps 2 and 1 repeat its lines with other digits,
except for the first: what is `dh2`, now that step 3 has used `h2`? You may write a function for
what repeats. One line can then replace several blanks:

    dhhat3, dz3, dah3, dxrh3, dr3, dar3, daz3, dxh3 = step_back(dh3, h2, z3, r3, hhat3)

{checking}

{writing}

A solution with the reason for every line is `jaxmore/ninja/gru/stepwise.py`: look when you have
done it yourself. The network is the GRU of makemore.py, at three steps.
"""

GRU = Exercise(
    title="Backpropagation by hand: a GRU through time",
    batch=batch,
    parameters=Parameters,
    forward=forward,
    cotangents=Cotangents._fields,
    setup=SETUP,
    hints=HINTS,
    readme=README,
)
"""The exercise on backpropagation through time: three steps of a gated recurrent unit."""
