"""docs/exactness.md: what was measured, in a summary, two tables and the causes."""

import math
from collections.abc import Sequence

from benchmarks.exactness.rules import TINY, Measured
from benchmarks.exactness.stepwise import Step
from benchmarks.machine import describe_machine

WAYS = ("by hand", "jax.grad", "torch")
GOAL = 1.1
"""Our RMS error over the better autodiff's: as accurate, up to the noise of the draws."""

HEAD = """\
# How exact every gradient is

Every hand-derived gradient in float32 is as exact as the better of JAX's and PyTorch's automatic ones: over many random
draws its error is at most 1.1 times theirs, and in some cases a thousandth of it. Where bits differ from PyTorch's, the
reason is rounding in another order or another approximation of `exp` and its kin, and [the causes](#the-causes) name which.

Three ways to one gradient, all in float32 and from the same inputs: **by hand** (`op_fwd`, `op_bwd`), **jax.grad** of the
same `op` with JAX's tanh in it, and **torch** (its autograd, its own kernels). The truth is `jax.vjp` in float64 on the same inputs; for
tanh, sigmoid and gelu it is mpmath's, since in their tails float64 loses digits too. torch runs on one thread: on two, its
layer norm adds up the rows in two halves (dbias then errs 10 % less than with one running sum; on one thread it has our bits).

Written by `python -m benchmarks.exactness`, {seeds} draws of every family and {steps} of the network, on {machine}.
Other processors add up in another order; ratios then stay within a few per cent, bits do not. Fewer draws would not do: a
score near 1e3 is rounded by 3e-5, and of attention's error there half is that of one to four draws of 4000, in which two scores
all but tie. Of 200 draws dq, dk and dv had ratios of 1.73, 1.84 and 3.74 (torch, which adds up q kᵀ in another order, was
luckier in one); of five times 4000, fourteen of fifteen were 1.00 and one was 1.12.

## Summary

{summary}

The goal is a root-mean-square error at most {goal} times that of the better autodiff. Where it is missed, the cause stands in
the last column, and below.

The tests compare every element with PyTorch's in float64 by the condition scale of that element, not of its tensor: the rules
and cells of `tests/rules/test_ladder.py` are all within 7e-16 of it. In float32 and the 16-bit dtypes the rounding of the
forward's values reaches every cotangent of a cell or an attention, so there the tests take the largest scale of the tensor.

## Every rule, every family, every cotangent

- **equal**: elements with torch's very bits. **ulp**: the most float32 numbers between an element and torch's; large where an
  element is itself a difference that cancels.
- **worst**: largest error over the tensor's largest element, of the three ways. (Where the truth is 0 by identity: the
  error itself.) **ratio**: RMS error by hand over that of the better autodiff. Below 1 the hand wins.

<details markdown="1"><summary>The table of every cotangent</summary>

| rule | arguments | cotangent | elements | equal | ulp | worst by hand | jax.grad | torch | ratio | cause |
|---|---|---|---|---|---|---|---|---|---|---|
"""

STEPS = """
</details>

## Exercise 1, line by line

The notebooks' network in its smallest steps, at their size (32 examples, 64 hidden). **Bits** is the test that the lecture's
`cmp` makes: each line of `jaxmore.ninja.stepwise.backward` is given torch's intermediates and torch's retained gradients of what
comes after it, and must return torch's bits in every draw; compiled as a whole (jit), and operation by operation (eager).
**jit: {jitted} of 26. eager: {eager} of 26.** The errors are end to end, from our own forward pass.

<details markdown="1"><summary>The table of every line</summary>

| cotangent | elements | jit | eager | ulp | worst by hand | jax.grad | torch | ratio | cause |
|---|---|---|---|---|---|---|---|---|---|
"""

CAUSES = {
    "exp": """XLA's float32 `exp` is off by up to 0.93 units in the last place (0.32 in the mean), torch's by 0.54
(0.29, near the 0.288 of a correct rounding). It enters sigmoid, softmax, cross-entropy, attention and, in the network, the
probabilities and so every cotangent before them.""",
    "sums": """Summation order. XLA adds a long axis in one running sum; torch in sixteen or four partial sums, in vectors
as wide as the processor's. Of two orders neither is right: over a few terms either may come out ahead by some
per cent. The network's sums over the batch are written in torch's order (`_sum_rows`), which is also more exact.
Sums along a row (`logit_maxes`: zero by identity, its bits are all rounding) depend on the width of
the processor's vectors, so no fixed order has torch's bits everywhere. This is what torch's issue 121133 asks: the formula is
right, and equal formulas differ in bits.""",
    "fma": """Fused multiply-add. torch's tanh backward computes 1 − h² in one step with one rounding, and so does XLA in a
compiled function; eager JAX rounds h² first and differs. The other way round, XLA fuses products into sums where torch
rounds twice: in the network `_rounded` keeps them apart, at a price: its errors are torch's, not smaller.""",
    "pow": """`(bnvar + eps) ** -1.5`: two libraries' approximations of a power. XLA's is all but correctly rounded (0.501
units), torch's may be one number beside it.""",
    "tanh": """XLA's float32 tanh is off by up to 4.9 units in the last place, torch's by 0.5; where 1 − y² is small, that
error is all that is left of it. Ours (`activations.py`) is off by up to 1.3, by 2 to 3 % more time a step of the notebooks' network. With
an exponential of all digits it would be 1.05 instead of 1.06 of torch's error, for 5 %; keeping 1 − |y| as well would have none
in the tails, for 15 %.""",
    "forms": """Roundings in another order, each form as good as the other: a product more before or after a sum.""",
    "eager": """Eager JAX writes the transpose of h out before the product, and a product of another layout adds up in another
order; compiled, it is the order of torch's.""",
}  # fmt: skip

OF_RULES = {
    "batch_norm": {"": "sums"},
    "gru_cell": {"": "tanh"},
    "layer_norm": {"": "sums"},
    "lstm_cell": {"": "tanh"},
    "rnn_cell": {"": "tanh"},
    "sigmoid": {"": "exp"},
    "tanh": {"": "tanh"},
    "softmax_cross_entropy": {"": "exp"},
    "linear": {"": "sums"},
    "embedding": {"": "sums"},
}
OF_STEPS = {"logit_maxes": "sums", "bnvar": "pow", "hpreact": "fma", "W2": "eager"}


def write(rows: Sequence[Measured], steps: Sequence[Step], seeds: int) -> str:
    """The page."""
    measured = describe_machine()
    machine = f"{measured['cpu']}, jax {measured['versions']['jax']}, torch " + str(
        measured["versions"]["torch"]
    )
    head = HEAD.format(
        seeds=seeds, steps=steps[0].seeds, machine=machine, goal=GOAL, summary=summary(rows, steps)
    )
    jitted, eager = (sum(getattr(s, how) == 1 for s in steps) for how in ("jitted", "eager"))
    table = STEPS.format(jitted=jitted, eager=eager)
    causes = "\n".join(f"- **{name}.** {text}" for name, text in CAUSES.items())
    return (
        head
        + "\n".join(map(rule_line, rows))
        + "\n"
        + table
        + "\n".join(map(step_line, steps))
        + f"\n\n</details>\n\n## The causes\n\n{causes}\n{EDGES}"
    )


def summary(rows: Sequence[Measured], steps: Sequence[Step]) -> str:
    """The counts that the page opens with."""
    ratios = [row.ratio for row in rows]
    better = sum(row.ratio < 1 / GOAL for row in rows)
    far = sum(row.rms["torch"] > 10 * row.rms["by hand"] for row in rows)
    return "\n".join(
        [
            f"- {len(rows)} cotangents of {len({row.rule for row in rows})} rules on their families: "
            f"{sum(ratio <= GOAL for ratio in ratios)} within {GOAL} of the better autodiff, "
            f"{better} of them better than both by as much; the median is "
            f"{sorted(ratios)[len(ratios) // 2]:.2f}.",
            f"- {sum(row.equal == 1 for row in rows)} have torch's bits in every draw. In {far} torch's "
            "error is more than ten times ours.",
            f"- Exercise 1: {sum(s.jitted == 1 for s in steps)} of {len(steps)} cotangents have torch's "
            "bits, line by line.",
        ]
    )


def rule_line(row: Measured) -> str:
    """One row of the first table."""
    options = ", ".join(f"{k}={v}" for k, v in row.family.options.items())
    arguments = f"`{row.family.arguments}`" + (f" {options}" if options else "")
    causes = OF_RULES.get(row.rule, {})
    cause = causes.get(f"d{row.argument}") or causes.get("") or "forms"
    cells = [
        row.rule,
        arguments,
        f"d{row.argument}",
        str(row.size),
        "all" if row.equal == 1 else f"{row.equal:.0%}",
        str(row.ulp) if row.ulp < 1e4 else f"{row.ulp:.0e}",
        *_errors(row.worst),
        _ratio(row.ratio),
        cause if row.ratio > GOAL else "",
    ]
    return f"| {' | '.join(cells)} |"


def step_line(step: Step) -> str:
    """One row of the second table."""
    cause = OF_STEPS.get(step.name, "exp" if step.ratio > GOAL else "")
    cells = [
        step.name,
        str(step.size),
        *("all" if share == 1 else f"{share:.0%} of draws" for share in (step.jitted, step.eager)),
        str(step.ulp) if step.ulp < 1e4 else f"{step.ulp:.0e}",
        *_errors(step.worst),
        _ratio(step.ratio),
        cause,
    ]
    return f"| {' | '.join(cells)} |"


def _errors(worst: dict[str, float]) -> list[str]:
    return [f"{worst[way]:.1e}" if worst[way] > TINY**2 else "0" for way in WAYS]


def _ratio(ratio: float) -> str:
    return "∞" if math.isinf(ratio) else f"{ratio:.2f}"


EDGES = """
## At the edges

- **Ties for a maximum.** relu at 0: slope 0, as torch's (`jnp.maximum` would give ½). `logit_maxes`: the first of the
  largest takes the whole cotangent, as `torch.max(dim)` (`jnp.max` would split it); it is zero by identity in the end. Softmax,
  cross-entropy and attention subtract a maximum that has no cotangent, so a tie changes nothing.
- **Tails.** tanh's gradient is exactly 0 where y rounds to ±1 (|x| > 9 in float32), as torch's and JAX's is; gelu takes its
  gates from `erfc` and σ, which lose no digit far below zero; sigmoid's gradient above 17 is 0 in float32, since 1 − y is.
- **n = 1.** batch_norm and the network refuse one row: it has no unbiased variance. A softmax of one score, a
  layer_norm of one feature and the first place of attention have gradient 0.
- **All targets ignored.** The loss is 0 and so is every gradient, where torch has NaN.
- **Exact zeros.** A row of a table that no id picks, a key that no query may see, a position in the future: not small, 0.
"""
