"""Mistakes to make in the backward pass, one line each, and what each of them teaches."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxmore.ninja import stepwise


class Mistake(NamedTuple):
    """One piece of the source of :func:`jaxmore.ninja.stepwise.backward` for another."""

    name: str
    """The cotangent that the line makes."""
    title: str
    right: str
    wrong: str
    why: str
    """What to look for."""


MISTAKES = {
    "bnmeani": Mistake(
        "hprebn", "Drop BatchNorm's mean term", "dbndiff + 1 / n * dbnmeani", "dbndiff",
        "dhprebn no longer sums to zero over the batch, so db1 wakes up: a gradient that should "
        "be zero moves b1. The loss hardly notices.",
    ),
    "bessel": Mistake(
        "bndiff2", "n for n − 1", "1 / (n - 1) * jnp.ones_like", "1 / n * jnp.ones_like",
        "The share of the variance is off by 1/n: 3 % at 32 examples. The loss does not care.",
    ),
    "variance": Mistake(
        "bndiff", "Forget that bndiff has a second use",
        "dbndiff + _rounded(2 * v.bndiff * dbndiff2)", "dbndiff",
        "BatchNorm's variance counts as a constant. The gradient now tries to scale hprebn, "
        "which BatchNorm undoes: what it wastes, the loss does not see.",
    ),
    "maxes": Mistake(
        "logits", "Forget logit_maxes", "dnorm_logits + is_max * dlogit_maxes", "dnorm_logits",
        "Nothing turns wrong: the loss does not depend on what is subtracted, and dlogit_maxes "
        "is zero but for rounding.",
    ),
    "counts": Mistake(
        "counts", "Forget one use of counts", "dcounts = dcounts + dcounts_sum",
        "dcounts = dcounts",
        "The softmax loses its normalisation: the target's logit is pushed up, and no other is "
        "pushed down. The loss stalls.",
    ),
    "set": Mistake(
        "C", ".set for .add in the embedding", ".at[X].add(demb)", ".at[X].set(demb)",
        "Of all the uses of a character only one counts. Every row of dC but those of rare "
        "characters is wrong, and training goes on.",
    ),
    "tanh": Mistake(
        "hpreact", "Forget tanh's slope", "(1.0 - v.h**2) * dh", "dh",
        "Saturated units learn as if they were not. Everything below is wrong.",
    ),
    "tanh_square": Mistake(
        "hpreact", "1 − h for 1 − h²", "(1.0 - v.h**2) * dh", "(1.0 - v.h) * dh",
        "Right where h is 0 or 1, wrong elsewhere; the sign is never wrong, so the loss falls.",
    ),
    "sign": Mistake(
        "counts_sum", "Lose a minus sign", "-(v.counts_sum**-2) * dcounts_sum_inv",
        "(v.counts_sum**-2) * dcounts_sum_inv",
        "The other logits are pushed up along with the target. The loss grows: a wrong sign is "
        "the one mistake that shows at once.",
    ),
    "power": Mistake(
        "bnvar", "Forget the power rule's exponent", "-0.5 * (v.bnvar + EPS) ** -1.5",
        "-0.5 * (v.bnvar + EPS) ** -0.5",
        "Right only where the variance is 1. See by how much dbnvar is off, and how little of it "
        "reaches W1.",
    ),
    "mean": Mistake(
        "logprobs", "A sum for a mean", ".set(-1.0 / n)", ".set(-1.0)",
        "Every cotangent is n times too large: the same direction with n times the learning rate.",
    ),
    "transpose": Mistake(
        "h", "Half the logits", "dlogits @ params.W2.T",
        "dlogits.at[:, ::2].set(0) @ params.W2.T",
        "Half the terms of each element of dh are missing. W2 and b2 are right, and they alone "
        "can learn much.",
    ),
}  # fmt: skip


def backward_with(mistake: Mistake) -> Callable[..., Any]:
    """Return the backward pass with a mistake in it."""
    source = inspect.getsource(inspect.unwrap(stepwise.backward)).removeprefix("@jax.jit\n")
    if source.count(mistake.right) != 1:
        raise AssertionError(f"stepwise.backward has no {mistake.right!r} any more")
    namespace = dict(vars(stepwise))
    exec(source.replace(mistake.right, mistake.wrong), namespace)
    return namespace["backward"]
