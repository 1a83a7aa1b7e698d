"""The files of the exercise: forward lines, a blank for each cotangent, and the README."""

import ast
from pathlib import Path
from typing import NamedTuple

import jax

from jaxmore.errors import InputError
from jaxmore.files import write_atomically
from jaxmore.ninja import stepwise
from jaxmore.ninja.example_batch import batch

FILE = "my_backward.py"

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


class Line(NamedTuple):
    """A line of the forward pass: the name that it assigns, and the names that it reads."""

    target: str
    code: str
    reads: frozenset[str]


def _line(node: ast.stmt) -> Line:
    names = [child for child in ast.walk(node) if isinstance(child, ast.Name)]
    (target,) = (name.id for name in names if isinstance(name.ctx, ast.Store))
    reads = frozenset(name.id for name in names if isinstance(name.ctx, ast.Load))
    return Line(target, ast.get_source_segment(FORWARD, node) or "", reads)


LINES = tuple(map(_line, ast.parse(FORWARD).body))

CLOSED_FORMS = {
    "logits_fast": Line("loss", "", frozenset({"logits", "Y"})),
    "hprebn_fast": Line("hpreact", "", frozenset({"hprebn", "bngain", "bnraw", "bnvar_inv"})),
}
"""Exercises 2 and 3: each treats several lines of the forward pass as one."""

NAMES = (*stepwise.Cotangents._fields, *CLOSED_FORMS)
"""The variables that have a blank: 26 in the order of the backward pass, and two closed forms."""


def lines_that_read(name: str) -> list[Line]:
    """Return the forward lines that use a variable; its cotangent comes from them."""
    return [line for line in LINES if name in line.reads]


HEADER = '''\
"""Backpropagation by hand, one line for each line of the forward pass.

The task stands in README.md beside this file. How far you are:

    jaxmore check {file}
"""

import jax
import jax.numpy as jnp

from jaxmore.ninja import batch

C, W1, b1, W2, b2, bngain, bnbias, X, Y = batch()
n = X.shape[0]  # {n} examples; X {X}, Y {Y}

# The forward pass. Leave these lines as they are. ------------------------------------------------

'''

EXERCISE_1 = """
# Exercise 1. Put an expression in the place of each None: the cotangent d(loss)/d(variable). -----
# Above each blank stand the forward lines that use the variable; at its right, its shape.

"""

EXERCISE_2 = """
# Exercise 2. dlogits again, from logits and Y alone, in one line: derive the loss as a whole. ----

dlogits_fast = None  # {logits}

# Exercise 3. dhprebn again, from dhpreact, bngain, bnraw and bnvar_inv alone, in one line. -------

dhprebn_fast = None  # {hprebn}
"""

README = """\
# Backpropagation by hand

`my_backward.py` runs a small network once: 32 contexts of three characters go through an
embedding, a linear layer, BatchNorm, tanh, another linear layer and cross-entropy, and one
number comes out, the loss. Every step stands on a line of its own. Your task is the way back.

For each variable, find its **cotangent**: how much the loss moves when one of its elements
moves. The cotangent of `probs` is called `dprobs`, and it has the shape of `probs`. There are
26, and each follows from those above it. Two rules carry all of it:

1. A line `y = f(a, b)` sends `dy` on to `a` and to `b`, each times its own slope (for a matrix
   product: times the other matrix, transposed).
2. What is used on two lines, or copied along an axis, collects the **sum** of what comes back.

Replace each `None`, from the top down or in any order that you like. As often as you like:

    jaxmore check my_backward.py           # the table, the first line that is wrong, a hint
    jaxmore check my_backward.py --hint    # the same, and more of a hint

The check runs your file in float64 and compares every cotangent with automatic differentiation:

    logprobs        | exact: True  | approximate: True  | maxdiff: 0.0

*exact* is equality bit for bit, *approximate* is equality up to rounding, *maxdiff* the largest
difference. Each line is judged with the right cotangents above it, so one mistake shows once.
Where a cotangent comes out as zero whatever you write (`dlogit_maxes`, `db1`) or adds such a
zero (`dlogits`), the check puts other numbers above your line, so that the line itself has to be
right. The same goes for Exercises 2 and 3, the closed forms at the end of the file. While
something is left to do the exit code is 1; when all 28 lines are right it is 0.

You may add lines, helpers, loops, prints; `python my_backward.py` runs the file alone. JAX
arrays cannot be written into: in place of `a[i] = v` it is `a = a.at[i].set(v)`, and in place of
`a[i] += v`, `a = a.at[i].add(v)`.

The exercise is Andrej Karpathy's, from "Becoming a backprop ninja" (zero-to-hero, lecture 5). A
solution with the reason for every line is `jaxmore/ninja/stepwise.py`: look when you have done it
yourself.
"""


def my_backward() -> str:
    """Make the Python file of the exercise, with 28 blanks."""
    inputs = batch()
    params, X, Y = stepwise.Parameters(*inputs[:7]), inputs.X, inputs.Y
    values = jax.eval_shape(stepwise.forward, params, X, Y)
    shapes = {k: v.shape for k, v in (inputs._asdict() | values._asdict()).items()}
    blanks = [
        "".join(f"# {line.code}\n" for line in lines_that_read(name))
        + f"d{name} = None  # {shapes[name]}\n"
        for name in stepwise.Cotangents._fields
    ]
    return (
        HEADER.format(file=FILE, n=len(X), **shapes)
        + FORWARD
        + EXERCISE_1
        + "\n".join(blanks)
        + EXERCISE_2.format(**shapes)
    )


def write(folder: Path) -> list[Path]:
    """Write the exercise into a folder, which is created if it does not exist.

    Returns:
        The paths of the two files, ``my_backward.py`` and ``README.md``.

    Raises:
        InputError: one of them exists already, or they cannot be written.
    """
    texts = {folder / FILE: my_backward(), folder / "README.md": README}
    for path in texts:
        if path.exists():
            raise InputError(f"{path} exists already; name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            write_atomically(path, text.encode())
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}") from error
    return list(texts)
