"""Mistakes to plant in the backward pass: one piece of ``stepwise.backward`` for another."""

import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from jaxmore.ninja import stepwise


class Mistake(NamedTuple):
    """A line of the backward pass that someone might write."""

    name: str
    """What the address bar calls it."""
    place: str
    """The variable whose cotangent goes wrong first."""
    title: str
    right: str
    """A piece of the source of ``stepwise.backward``, and what takes its place."""
    wrong: str


MISTAKES = [
    Mistake("batchnorm-mean", "hprebn", "Forget that the mean depends on every example",
            "dhprebn = dbndiff + 1 / n * dbnmeani", "dhprebn = dbndiff"),
    Mistake("bessel", "bndiff2", "Divide by n in place of n − 1",
            "dbndiff2 = 1 / (n - 1)", "dbndiff2 = 1 / n"),
    Mistake("batchnorm-variance", "bndiff", "Forget that the variance depends on every example",
            "dbndiff = dbndiff + _rounded(2 * v.bndiff * dbndiff2)", "dbndiff = dbndiff"),
    Mistake("logit-maxes", "logits", "Forget logit_maxes",
            "dlogits = dnorm_logits + is_max * dlogit_maxes", "dlogits = dnorm_logits"),
    Mistake("one-use-of-counts", "counts", "Count one use of counts of the two",
            "dcounts = dcounts + dcounts_sum", "dcounts = dcounts"),
    Mistake("set-for-add", "C", "Write into dC with .set in place of .add",
            ".at[X].add(demb)", ".at[X].set(demb)"),
    Mistake("tanh-slope", "hpreact", "Forget the slope of tanh",
            "(1.0 - v.h**2) * dh", "dh"),
    Mistake("tanh-square", "hpreact", "Write 1 − h in place of 1 − h²",
            "(1.0 - v.h**2) * dh", "(1.0 - v.h) * dh"),
    Mistake("no-mean", "logprobs", "Forget that the loss is a mean",
            ".set(-1.0 / n)", ".set(-1.0)"),
    Mistake("sign", "logprobs", "Forget the minus sign of the loss",
            ".set(-1.0 / n)", ".set(1.0 / n)"),
    Mistake("power", "bnvar", "Keep the exponent −½ in the power rule",
            "(v.bnvar + EPS) ** -1.5", "(v.bnvar + EPS) ** -0.5"),
    Mistake("gain", "bnraw", "Forget bngain",
            "dbnraw = params.bngain * dhpreact", "dbnraw = dhpreact"),
    Mistake("bias-mean", "b2", "Take the mean over the batch in place of the sum",
            "db2 = _sum_rows(dlogits)[0]", "db2 = _sum_rows(dlogits)[0] / n"),
    Mistake("lost-word", "W1", "Leave the last example out of dW1",
            "dW1 = v.embcat.T @ dhprebn", "dW1 = v.embcat[:-1].T @ dhprebn[:-1]"),
]  # fmt: skip


def mistaken_backward(mistake: Mistake) -> Callable[..., Any]:
    """``stepwise.backward`` with the mistake in it, not jitted."""
    home = sys.modules[stepwise.backward.__module__]
    source = inspect.getsource(inspect.unwrap(stepwise.backward))
    if source.count(mistake.right) != 1:
        raise ValueError(f"stepwise.backward does not hold {mistake.right!r} once")
    whole = inspect.getsource(home).replace(source, source.replace(mistake.right, mistake.wrong))
    module = ModuleType(home.__name__)
    exec(compile(whole, home.__file__ or "", "exec"), module.__dict__)
    return inspect.unwrap(module.backward)
