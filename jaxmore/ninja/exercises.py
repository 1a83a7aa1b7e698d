"""The exercises that there are, and the files of each: a blank for each cotangent, and a README."""

from pathlib import Path

import jax

from jaxmore.errors import InputError
from jaxmore.files import write_atomically
from jaxmore.ninja.attention.exercise import ATTENTION
from jaxmore.ninja.blanks import BACKPROP
from jaxmore.ninja.exercise import Exercise
from jaxmore.ninja.gru.exercise import GRU

EXERCISES = {"backprop": BACKPROP, "attention": ATTENTION, "gru": GRU}
"""The exercises by name."""

FILE = "my_backward.py"

HEADER = '''\
"""{title}, one line for each line of the forward pass.

The task stands in README.md beside this file. How far you are:

    jaxmore check {file}
"""

import jax
import jax.numpy as jnp

'''

FORWARD = """
# The forward pass. Leave these lines as they are. ------------------------------------------------

"""

TASK = "Put an expression in the place of each None: the cotangent d(loss)/d(variable)."

BLANKS = """
# {task}
# Above each blank stand the forward lines that use the variable; at its right, its shape.

"""

CHECKING = """\
Replace each `None`, from the top down or in any order that you like. As often as you like:

    jaxmore check {file}           # the table, the first line that is wrong, a hint
    jaxmore check {file} --hint    # the same, and more of a hint

The check runs your file in float64 and compares every cotangent with automatic differentiation:

    {first:15s} | exact: True  | approximate: True  | maxdiff: 0.0

*exact* is equality bit for bit, *approximate* is equality up to rounding, *maxdiff* the largest
difference. Each line is judged with the right cotangents above it, so one mistake shows once.
While something is left to do the exit code is 1; when all {count} lines are right it is 0."""

WRITING = """\
You may add lines, helpers, loops, prints; `python {file}` runs the file alone. JAX
arrays cannot be written into: in place of `a[i] = v` it is `a = a.at[i].set(v)`, and in place of
`a[i] += v`, `a = a.at[i].add(v)`."""


def my_backward(exercise: Exercise) -> str:
    """Make the Python file of an exercise, with its blanks."""
    inputs = exercise.batch()
    values = jax.eval_shape(exercise.forward, exercise.parameters(*inputs[:-2]), *inputs[-2:])
    shapes = {k: v.shape for k, v in (inputs._asdict() | values._asdict()).items()}
    task = ("Exercise 1. " if exercise.closed_forms else "") + TASK
    blanks = [
        "".join(f"# {line.code}\n" for line in exercise.lines_that_read(name))
        + f"d{name} = None  # {shapes[name]}\n"
        for name in exercise.cotangents
    ]
    return (
        HEADER.format(title=exercise.title, file=FILE)
        + exercise.setup.format(n=len(inputs.X), **shapes)
        + FORWARD
        + exercise.forward_text
        + BLANKS.format(task=f"{task} ".ljust(97, "-"))
        + "\n".join(blanks)
        + exercise.closed_form_blanks.format(**shapes)
    )


def readme(exercise: Exercise) -> str:
    """Make the README of an exercise."""
    first, count = exercise.cotangents[0], len(exercise.names)
    return exercise.readme.format(
        title=exercise.title,
        checking=CHECKING.format(file=FILE, first=first, count=count),
        writing=WRITING.format(file=FILE),
    )


def write(folder: Path, exercise: Exercise = BACKPROP) -> list[Path]:
    """Write an exercise into a folder, which is created if it does not exist.

    Args:
        folder: where the files go.
        exercise: what to write.

    Returns:
        The paths of the two files, ``my_backward.py`` and ``README.md``.

    Raises:
        InputError: one of them exists already, or they cannot be written.
    """
    texts = {folder / FILE: my_backward(exercise), folder / "README.md": readme(exercise)}
    try:
        for path in texts:
            if path.exists():
                raise InputError(f"{path} exists already: name another folder")
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            write_atomically(path, text.encode())
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}") from error
    return list(texts)
